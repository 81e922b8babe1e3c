"""Summaries of measured samples, and the Markdown table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

Samples = dict[str, list[float]]


@dataclass(frozen=True)
class Ratio:
    """The cost of another engine divided by that of the fast engine: median over pairs, and range."""

    median: float
    low: float
    high: float


def summarize(result: dict[str, Any], other: str = "recbole") -> dict[str, Any]:
    """Summarize one comparison of `other` and fast from its raw samples; README.md defines the terms."""
    stock, fast = result["samples"][other], result["samples"]["fast"]
    epochs = _epochs(stock, result["steps_per_epoch"]), _epochs(fast, result["steps_per_epoch"])
    floor = result["floor"]["seconds"]
    peaks = _peaks(result["memory_mb"][other]), _peaks(result["memory_mb"]["fast"])
    return {
        "step_ratio": asdict(_ratio(stock["step"], fast["step"])),
        "step_with_loading_ratio": asdict(_ratio(_with_loading(stock), _with_loading(fast))),
        "epoch_ratio": asdict(_ratio(*epochs)),
        "epoch_measured": bool(stock["epoch"]),
        "validation_ratio": asdict(_ratio(stock["validation"], fast["validation"])),
        "prepare_ratio": asdict(_ratio(stock["prepare"], fast["prepare"])),
        "peak_memory_ratio": peaks[0]["peak"] / peaks[1]["peak"],
        "peak_over_import_ratio": _over(peaks[0]["over_import"], peaks[1]["over_import"]),
        "step_to_floor": asdict(_ratio(fast["step"], floor)),
        "stock_step_to_floor": asdict(_ratio(stock["step"], floor)),
        "validation_to_floor": asdict(_ratio(fast["validation"], result["floor"]["validation"])),
        "stock_validation_to_floor": asdict(_ratio(stock["validation"], result["floor"]["validation"])),
        "floor_seconds": statistics.median(floor),
        "seconds": {
            name: {
                "step": statistics.median(samples["step"]),
                "load": statistics.median(samples["load"]),
                "step_with_loading": statistics.median(_with_loading(samples)),
                "validation": statistics.median(samples["validation"]),
                "epoch": statistics.median(epoch),
                "prepare": statistics.median(samples["prepare"]),
            }
            for name, samples, epoch in ((other, stock, epochs[0]), ("fast", fast, epochs[1]))
        },
        "peak_mb": {other: peaks[0], "fast": peaks[1]},
    }


def markdown_table(results: Sequence[dict[str, Any]]) -> str:
    """Return the table in Markdown: one line for each comparison with another engine, ratios first."""
    header = (
        "data",
        "layers",
        "against",
        "step",
        "epoch",
        "validation",
        "preparation",
        "peak memory (beyond imports)",
        "loss difference (relative)",
        "gradient difference (absolute)",
        "fast step / floor",
        "fast validation / floor",
        "its step",
        "fast step",
    )
    lines = [header, ("---",) * len(header)]
    for result in results:
        lines.append(_row(result, "recbole", result))
        lines += [_row(result, name, found) for name, found in result["peers"].items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _row(result: dict[str, Any], other: str, found: dict[str, Any]) -> tuple[str, ...]:
    summary, agreement = found["summary"], found["agreement"]
    seconds = summary["seconds"]
    estimated = "" if summary["epoch_measured"] else " (from steps)"
    return (
        result["data"],
        str(result["layers"]),
        other,
        _times(summary["step_ratio"]),
        _times(summary["epoch_ratio"]) + estimated,
        _times(summary["validation_ratio"]),
        _times(summary["prepare_ratio"]),
        f"{summary['peak_memory_ratio']:.1f}x ({summary['peak_over_import_ratio']:.1f}x)",
        f"{agreement['loss_difference']:.1g}" if agreement["same_batches"] else "other batches",
        f"{agreement['gradient_difference']:.1g}",
        f"{summary['step_to_floor']['median']:.1f}",
        f"{summary['validation_to_floor']['median']:.1f}",
        f"{seconds[other]['step']:.3g} s",
        f"{seconds['fast']['step']:.3g} s",
    )


def _times(ratio: dict[str, float]) -> str:
    text = f"{ratio['median']:.1f}x"
    if ratio["low"] < ratio["high"]:
        text += f" [{ratio['low']:.1f}-{ratio['high']:.1f}]"
    return text


def _ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    pairs = [a / b for a, b in zip(above, below, strict=True)]
    return Ratio(statistics.median(pairs), min(pairs), max(pairs))


def _with_loading(samples: Samples) -> list[float]:
    return [load + step for load, step in zip(samples["load"], samples["step"], strict=True)]


def _epochs(samples: Samples, steps: int) -> list[float]:
    """Return measured epochs, or one computed from the median step and the median validation."""
    if samples["epoch"]:
        return samples["epoch"]
    return [statistics.median(_with_loading(samples)) * steps + statistics.median(samples["validation"])]


def _peaks(memory: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return the peak memory of one engine; on a GPU that of the GPU's memory."""
    kind = "cuda" if "cuda" in memory["import"] else "rss"
    last = list(memory.values())[-1][kind]  # peaks never decrease
    return {"peak": last, "over_import": last - memory["import"][kind]}


def _over(above: float, below: float) -> float:
    # A tiny data set may fit into memory that the imports left unused.
    return above / max(below, 1.0)
