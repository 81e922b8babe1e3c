"""Recommendations for all users, against RecBole's `full_sort_topk`: --help."""

from __future__ import annotations

import json
import statistics
from typing import Annotated, Any

import typer

from benchmarks.common import (
    JsonFile,
    MarkdownFile,
    Threads,
    print_progress,
    start,
    write_output,
)
from benchmarks.engine.datasets import ML_100K, choose_features, find_datasets, training_config
from benchmarks.engine.processes import Device, MeasuredProcess, ProcessSetting
from sasrecf_tune.executors.worker import set_threads

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

_MODULE = "benchmarks.inference.measured_recommendations"


@app.command()
def main(
    data: Annotated[
        str, typer.Option(metavar="ml-100k|DIR", help="The data set, or a directory with data sets.")
    ] = ML_100K,
    features: Annotated[str, typer.Option(help="Item features, with commas between them.")] = "",
    layers: Annotated[str, typer.Option(help="Numbers of layers, with commas between them.")] = "1,2",
    top: Annotated[int, typer.Option(min=1, help="Items of each user.")] = 10,
    batch: Annotated[int, typer.Option(min=1, help="Users of one call of full_sort_topk.")] = 512,
    repeats: Annotated[int, typer.Option(min=1, help="Turns of each.")] = 3,
    device: Annotated[Device, typer.Option(help="Where to compute.")] = "cpu",
    threads: Threads = 0,
    json_file: JsonFile = None,
    markdown: MarkdownFile = None,
    set_: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="RecBole setting, for a quick run; may be repeated."),
    ] = [],  # noqa: B006  # typer reads the default; nothing changes it
) -> None:
    """Seconds of the best items of all users: RecBole's `full_sort_topk` divided by ours.

    Ours also leaves out the items of each history, and gives original ids, ranks and scores as columns.
    """
    set_threads(threads)
    sets = find_datasets(data)
    rows = []
    for one, chosen in zip(sets, choose_features(sets, [f for f in features.split(",") if f]), strict=True):
        for count in map(int, layers.split(",")):
            config = training_config(one, chosen, count, set_)
            rows.append({"data": one.name, "layers": count} | _measure(config, device, top, batch, repeats))
    write_output(_table(rows), markdown)
    if json_file is not None:
        write_output(json.dumps(rows, indent=1) + "\n", json_file)


def _measure(config: dict[str, Any], device: Device, top: int, batch: int, repeats: int) -> dict[str, Any]:
    with (
        MeasuredProcess(ProcessSetting("recbole", device, config, _MODULE)) as stock,
        MeasuredProcess(ProcessSetting("fast", device, config, _MODULE)) as fast,
    ):
        users = [each.call("load") for each in (stock, fast)]
        for each in (stock, fast):
            each.call("recommend", top, batch)  # warm-up
        turns = []
        for turn in range(repeats):
            turns.append([each.call("recommend", top, batch) for each in (stock, fast)])
            print_progress(f"{config['dataset']}, {config['n_layers']} layers, turn {turn + 1}: {turns[-1]}")
        memory = [each.call("memory")["rss"] for each in (stock, fast)]
    ratios = [one / other for one, other in turns]
    seconds = [statistics.median(column) for column in zip(*turns, strict=True)]
    ratio = [statistics.median(ratios), min(ratios), max(ratios)]
    return {"users": users[0], "seconds": seconds, "ratio": ratio, "peak_mb": memory, "turns": turns}


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| data | layers | users | RecBole | ours | ratio |", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        stock, fast = row["seconds"]
        median, low, high = row["ratio"]
        lines.append(
            f"| {row['data']} | {row['layers']} | {row['users']:,} | {stock:.2f} s | {fast:.3f} s "
            f"| {median:.1f}x [{low:.1f}-{high:.1f}] |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    start(app)
