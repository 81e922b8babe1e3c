"""Trials that train as one model against the same in turn: python benchmarks/fused.py --help."""

from __future__ import annotations

import json
import os
import statistics
from contextlib import ExitStack
from typing import Annotated, Any

import typer
from cases import ML_100K, DataSet, choose_features, configuration, find
from entry import JsonFile, MarkdownFile, Threads, say, start, use_threads, write
from processes import Device, Setting, Side

from sasrecf_tune import __version__
from sasrecf_tune.errors import InputError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

_NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}


def compare(config: dict[str, Any], trials: int, steps: int, device: Device) -> dict[str, Any]:
    """One trial alone and `trials` fused, in processes of their own that are asked in turns.

    Raises:
        TuneError: the data cannot be used, or a process is gone.
    """
    with ExitStack() as stack:
        alone, fused = sides = [
            stack.enter_context(Side(Setting(name, device, config))) for name in ("alone", "fused")
        ]
        counts = {alone: 1, fused: trials}
        losses = []
        for side in sides:
            side.ask("prepare")
            side.ask("trials", min(2, counts[side]), _NO_DROPOUT)
            losses.append(side.ask("losses", 3))
        before = [side.ask("peak") for side in sides]
        for side in sides:
            steps_an_epoch = side.ask("trials", counts[side], {})
            side.ask("train")  # pays for allocations
        seconds = [[side.ask("train") for side in sides] for _ in range(steps)]
        validations = [[side.ask("validate") for side in sides] for _ in range(steps)]
        peaks = [side.ask("peak") for side in sides]
        about = alone.ask("about")
    step, validation = (
        [statistics.median(column) for column in zip(*pairs, strict=True)] for pairs in (seconds, validations)
    )
    one, together = (steps_an_epoch * step[side] + validation[side] for side in (0, 1))
    return {
        "trials": trials,
        "step_ratio": _ratio(trials, seconds),
        "validation_ratio": _ratio(trials, validations),
        "epoch_ratio": trials * one / together,
        "seconds": {
            "alone": step[0],
            "fused": step[1],
            "validation alone": validation[0],
            "validation fused": validation[1],
        },
        "samples": {"alone": [pair[0] for pair in seconds], "fused": [pair[1] for pair in seconds]},
        "peak_mb": {"alone": peaks[0], "fused": peaks[1]},
        "peak_mb_before": {"alone": before[0], "fused": before[1]},
        "loss_difference": max(abs(a - b) / abs(a) for a, b in zip(*losses, strict=True)),
        "about": about,
    }


def _ratio(trials: int, pairs: list[list[float]]) -> dict[str, float]:
    ratios = [trials * alone / fused for alone, fused in pairs]
    return {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}


def table(results: list[dict[str, Any]]) -> str:
    """The results in Markdown."""
    header = (
        "data",
        "layers",
        "trials",
        "step",
        "validation",
        "epoch",
        "step alone",
        "step fused",
        "peak alone",
        "peak fused",
    )
    lines = [header, ("---",) * len(header)]
    for result in results:
        seconds, peak = result["seconds"], result["peak_mb"]
        lines.append(
            (
                result["data"],
                str(result["layers"]),
                str(result["trials"]),
                *(
                    f"{ratio['median']:.2f}x [{ratio['low']:.2f}-{ratio['high']:.2f}]"
                    for ratio in (result["step_ratio"], result["validation_ratio"])
                ),
                f"{result['epoch_ratio']:.2f}x",
                f"{seconds['alone']:.3g} s",
                f"{seconds['fused']:.3g} s",
                f"{peak['alone']:,.0f} MB",
                f"{peak['fused']:,.0f} MB",
            )
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


@app.command()
def main(
    data: Annotated[
        list[str],
        typer.Option(
            "--data", metavar="DIR", help=f"{ML_100K}, or a directory as for engine.py; may be repeated."
        ),
    ] = [ML_100K],  # noqa: B006  # typer reads the default; nothing changes it
    trials: Annotated[str, typer.Option(metavar="1,4,16", help="Numbers of trials.")] = "1,4,16",
    layers: Annotated[int, typer.Option(min=1, help="Layers of each model.")] = 2,
    steps: Annotated[int, typer.Option(min=1, help="Pairs of steps.")] = 5,
    threads: Threads = 0,
    device: Annotated[Device, typer.Option(help="Where to train.")] = "auto",
    json_file: JsonFile = None,
    markdown: MarkdownFile = None,
    set_: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="A RecBole setting.")] = [],  # noqa: B006
) -> None:
    """Compare trials trained as one model with trials trained in turn: time, memory and agreement.

    Prints JSON with every sample, and then a table in Markdown.
    """
    use_threads(threads)
    counts = [int(part) for part in trials.split(",") if part.strip().isdecimal() and int(part) > 0]
    if not counts:
        raise InputError(f"{trials!r} is no list of numbers such as 1,4,16", where="--trials")
    results = []
    sets = [one for directory in data for one in find(directory)]
    for one, features in zip(sets, choose_features(sets, []), strict=True):
        config = configuration(one, features, layers, set_)
        for count in counts:
            say(f"{one.name}, {count} trials")
            results.append(_named(one, layers) | compare(config, count, steps, device))
    report = {"sasrecf_tune": __version__, "cores": os.cpu_count(), "set": set_, "results": results}
    write(json.dumps(report, indent=1) + "\n", json_file)
    write(table(results), markdown)


def _named(data: DataSet, layers: int) -> dict[str, Any]:
    return {"data": data.name, "layers": layers}


if __name__ == "__main__":
    start(app)
