"""Record learning curves of every cell of a finite space: python -m benchmarks.search.record_curves --help.

`benchmarks.search.replay` replays search policies against these tables.
"""

from __future__ import annotations

import csv
import gzip
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common import start
from benchmarks.engine.datasets import choose_features, find_datasets, training_config
from benchmarks.search.curve_table import METRIC, early_stop
from benchmarks.search.dataset_reduction import Last, MinItem, MinUser, Reduction, Users, reduce_dataset
from benchmarks.search.random_points import random_points
from sasrecf_tune.errors import InputError
from sasrecf_tune.inputs.config_files import read_base
from sasrecf_tune.inputs.constraints import feasible_cells
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.search.plan import trial_config
from sasrecf_tune.storage.files import append_line, atomic_write

_SEED = 2020
_MEASURED = [f"{split}_{METRIC}" for split in ("valid", "test")]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@dataclass(frozen=True)
class Run:
    """One cell of the space with one seed, trained for `epochs`, or until RecBole's early stopping."""

    config: dict[str, Any]
    params: dict[str, Any]
    seed: int
    epochs: int
    stops_early: bool

    @property
    def key(self) -> tuple[str, ...]:
        """Identify the run in a table: its parameters and seed as they are written."""
        return (*(str(value) for value in self.params.values()), str(self.seed))


def train(run: Run) -> tuple[Run, list[list[object]]]:
    """Return the rows of a run, one for each epoch.

    `seconds` is the processor time so far, without the test split, which draws no random numbers.
    """
    from benchmarks.search.curve_trainer import train_curve

    rows: list[list[object]] = []
    curve: list[float] = []
    for epoch, (valid, test, seconds) in enumerate(train_curve(run.config, run.epochs, METRIC), start=1):
        curve.append(valid)
        scores = (valid, "" if test is None else test)
        rows.append([*run.params.values(), run.seed, epoch, *scores, round(seconds, 2)])
        if run.stops_early and early_stop(curve)[2]:
            break
    return run, rows


@app.command()
def main(
    table: Annotated[Path, typer.Argument(help="The table to write, NAME.csv.gz; NAME.json describes it.")],
    params_file: Annotated[Path, typer.Option(help="A hyper.test.")] = Path("search_spaces/sasrecf.test"),
    data: Annotated[str, typer.Option(help="ml-100k, or a data set's directory.")] = "ml-100k",
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of every run.")] = 40,
    points: Annotated[
        int, typer.Option(min=0, help="Record this many random points, not all cells; 0 for all cells.")
    ] = 0,
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "2020,2021,2022",
    users: Users = 0,
    last: Last = 0,
    min_item: MinItem = 0,
    min_user: MinUser = 0,
    early_stopping: Annotated[
        bool, typer.Option(help="End a curve where RecBole's early stopping would (stopping_step 10).")
    ] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="RecBole settings.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes of one thread each.")] = 2,
) -> None:
    """Train every cell with every seed; the same command, or one with more seeds, continues."""
    if not table.name.endswith(".csv.gz"):
        raise InputError(f"{table} must end in .csv.gz", where="TABLE")
    space = parse(params_file.read_text(encoding="utf-8"), str(params_file))
    if space.size is None and not points:
        raise InputError("the space is infinite", where=str(params_file), fix="Set --points.")
    (found,) = find_datasets(data)
    reduction = Reduction(users, last, min_item, min_user)
    with tempfile.TemporaryDirectory() as scratch:
        small = reduce_dataset(found, reduction, Path(scratch))
        (features,) = choose_features([small], [])
        base = training_config(small, features, 2, set_ or []) | {
            "topk": [10],
            "metrics": ["MRR"],
        }
        base |= {"valid_metric": METRIC.upper(), "epochs": epochs} | read_base([], set_ or [])
        cells = random_points(space, points, _SEED) if points else list(feasible_cells(space, base))
        runs = [
            Run(trial_config(base, cell, seed), cell, seed, epochs, early_stopping)
            for seed in (int(text) for text in seeds.split(","))
            for cell in cells
        ]
        header = [*space.names, "seed", "epoch", *_MEASURED, "seconds"]
        partial = table.with_name(f"{table.name}.part")
        if table.exists() and not partial.exists():
            atomic_write(partial, gzip.decompress(table.read_bytes()).decode())
        rows = recorded_runs(partial, header, epochs, early_stopping)
        left = [run for run in runs if run.key not in rows]
        print(f"{len(runs)} runs, {len(left)} left", file=sys.stderr)
        started = time.perf_counter()
        for done, (run, measured) in enumerate(_trained(left, workers), start=1):
            rows[run.key] = [[str(value) for value in row] for row in measured]
            append_line(partial, "".join(_line(row) for row in rows[run.key]))
            print(f"{done} of {len(left)}, {time.perf_counter() - started:.0f} s", file=sys.stderr)
        text = _line(header) + "".join(_line(row) for run in runs for row in rows[run.key])
        whole = table.with_name(f"{table.name}.whole")
        whole.write_bytes(gzip.compress(text.encode(), mtime=0))
        whole.replace(table)
        about = {
            "data": found.name,
            "fingerprint": found.fingerprint(),
            "reduction": vars(reduction),
            "space": space.write(),
            "config": {key: value for key, value in base.items() if key != "data_path"},
            "cells": len(cells),
            "seeds": sorted({run.seed for run in runs}),
            "epochs": epochs,
            "early_stopping": early_stopping,
            "versions": {name: version(name) for name in ("torch", "recbole", "numpy")},
            "machine": platform.machine(),
            "recorded": datetime.now(UTC).date().isoformat(),
        }
        atomic_write(
            table.with_name(table.name.removesuffix(".csv.gz") + ".json"), json.dumps(about, indent=2) + "\n"
        )
        partial.unlink(missing_ok=True)


def _trained(runs: Sequence[Run], workers: int) -> Iterator[tuple[Run, list[list[object]]]]:
    os.environ["OMP_NUM_THREADS"] = "1"  # torch reads it when a worker imports it
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(train, runs)


def recorded_runs(
    partial: Path, header: Sequence[str], epochs: int, stops_early: bool
) -> dict[tuple[str, ...], list[list[str]]]:
    """Return the complete runs of an earlier start, by `Run.key`.

    Raises:
        InputError: They were recorded with other parameters.
    """
    if not partial.exists():
        atomic_write(partial, _line(header))
        return {}
    with partial.open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    if lines[0] != list(header):
        raise InputError("was recorded with other parameters", where=str(partial), fix="Move it away.")
    width, valid = header.index("epoch"), header.index(f"valid_{METRIC}")
    runs: dict[tuple[str, ...], list[list[str]]] = {}
    for row in lines[1:]:
        if len(row) == len(header):
            runs.setdefault(tuple(row[:width]), []).append(row)

    def is_whole(rows: list[list[str]]) -> bool:
        stopped = stops_early and early_stop([float(row[valid]) for row in rows])[2]
        return len(rows) == epochs or stopped

    return {key: rows for key, rows in runs.items() if is_whole(rows)}


def _line(row: Sequence[object]) -> str:
    return ",".join(str(value) for value in row) + "\n"


if __name__ == "__main__":
    start(app)
