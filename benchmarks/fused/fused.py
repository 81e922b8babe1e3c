"""Compare trials that train as one model with one trial alone: python -m benchmarks.fused.fused --help."""

from __future__ import annotations

import json
import os
import statistics
from contextlib import ExitStack
from typing import Annotated, Any

import typer

from benchmarks.common import (
    JsonFile,
    MarkdownFile,
    Threads,
    print_progress,
    set_threads,
    start,
    write_output,
)
from benchmarks.engine.datasets import ML_100K, Dataset, choose_features, find_datasets, training_config
from benchmarks.engine.processes import Device, MeasuredProcess, ProcessSetting
from sasrecf_tune import __version__
from sasrecf_tune.errors import InputError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

_MODULE = "benchmarks.fused.measured_trials"
_NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}


def compare(config: dict[str, Any], trials: int, steps: int, device: Device) -> dict[str, Any]:
    """Measure one trial alone and `trials` fused, in two new processes that take turns.

    Raises:
        TuneError: the data cannot be used, or a process has ended.
    """
    with ExitStack() as stack:
        alone, fused = processes = [
            stack.enter_context(MeasuredProcess(ProcessSetting(name, device, config, _MODULE)))
            for name in ("alone", "fused")
        ]
        counts = {alone: 1, fused: trials}
        losses = []
        for process in processes:
            process.call("prepare")
            process.call("trials", min(2, counts[process]), _NO_DROPOUT)
            losses.append(process.call("losses", 3))
        before = [process.call("peak") for process in processes]
        for process in processes:
            steps_per_epoch = process.call("trials", counts[process], {})
            process.call("train")  # allocates the memory
        seconds = [[process.call("train") for process in processes] for _ in range(steps)]
        validations = [[process.call("validate") for process in processes] for _ in range(steps)]
        peaks = [process.call("peak") for process in processes]
        environment = alone.call("environment")
    step, validation = (
        [statistics.median(column) for column in zip(*pairs, strict=True)] for pairs in (seconds, validations)
    )
    alone_epoch, fused_epoch = (steps_per_epoch * step[index] + validation[index] for index in (0, 1))
    return {
        "trials": trials,
        "step_ratio": _ratio(trials, seconds),
        "validation_ratio": _ratio(trials, validations),
        "epoch_ratio": trials * alone_epoch / fused_epoch,
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
        "about": environment,
    }


def _ratio(trials: int, pairs: list[list[float]]) -> dict[str, float]:
    ratios = [trials * alone / fused for alone, fused in pairs]
    return {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}


def markdown_table(results: list[dict[str, Any]]) -> str:
    """Return the results as a table in Markdown."""
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
            "--data",
            metavar="DIR",
            help=f"{ML_100K}, or a directory as for benchmarks.engine.engine; may be repeated.",
        ),
    ] = [ML_100K],  # noqa: B006  # typer reads the default; nothing changes it
    trials: Annotated[str, typer.Option(metavar="1,4,16", help="Numbers of trials.")] = "1,4,16",
    layers: Annotated[int, typer.Option(min=1, help="Layers of each model.")] = 2,
    steps: Annotated[int, typer.Option(min=1, help="Pairs of training steps.")] = 5,
    threads: Threads = 0,
    device: Annotated[Device, typer.Option(help="Where to train.")] = "auto",
    json_file: JsonFile = None,
    markdown: MarkdownFile = None,
    set_: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="A RecBole setting.")] = [],  # noqa: B006
) -> None:
    """Compare trials trained as one model with trials trained in turn: time, memory and agreement.

    Prints JSON with every sample, and then a table in Markdown.
    """
    set_threads(threads)
    counts = [int(part) for part in trials.split(",") if part.strip().isdecimal() and int(part) > 0]
    if not counts:
        raise InputError(f"{trials!r} is not a list of numbers such as 1,4,16", where="--trials")
    results = []
    sets = [one for directory in data for one in find_datasets(directory)]
    for one, features in zip(sets, choose_features(sets, []), strict=True):
        config = training_config(one, features, layers, set_)
        for count in counts:
            print_progress(f"{one.name}, {count} trials")
            results.append(_named(one, layers) | compare(config, count, steps, device))
    report = {"sasrecf_tune": __version__, "cores": os.cpu_count(), "set": set_, "results": results}
    write_output(json.dumps(report, indent=1) + "\n", json_file)
    write_output(markdown_table(results), markdown)


def _named(data: Dataset, layers: int) -> dict[str, Any]:
    return {"data": data.name, "layers": layers}


if __name__ == "__main__":
    start(app)
