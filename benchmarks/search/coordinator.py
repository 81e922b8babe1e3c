"""Measure the coordinator with trials that take no time: python -m benchmarks.search.coordinator --help."""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from typing_extensions import override

from benchmarks.common import database_server, start
from benchmarks.search.instant_training import fake_data_summary
from sasrecf_tune.executors.local import LocalExecutor
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.settings import Pruner, RunSettings, Sampler, SearchSettings
from sasrecf_tune.report.study_files import ResultFiles
from sasrecf_tune.search.callbacks import Callback
from sasrecf_tune.search.coordinator import Coordinator
from sasrecf_tune.search.plan import base_config, make_plan
from sasrecf_tune.search.study_setup import planned_study
from sasrecf_tune.storage.database.open import open_storage
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.trials import TrialRecord

# Finite, for the grid sampler, and large enough for any number of trials.
SPACE = """\
learning_rate choice [0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001]
hidden_dropout_prob quniform 0.1,0.5,0.05
attn_dropout_prob quniform 0.1,0.5,0.05
hidden_size choice [32, 64, 128, 256]
n_layers choice [1, 2, 3]
n_heads choice [1, 2]
"""
# The cost at a point of the search is the median over this many trials.
WINDOW = 50

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class TrialClock(Callback):
    """Records when each trial ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    @override
    def on_trial_end(self, record: TrialRecord) -> None:
        self.ends.append(time.perf_counter())
        if len(self.ends) % 250 == 0:
            print(f"{len(self.ends)} trials, {self.ends[-1] - self.ends[0]:.1f} s", file=sys.stderr)

    def seconds_per_trial(self, done: int) -> float | None:
        """Return the seconds per trial around trial `done`, a median; None if there are too few trials."""
        ends = self.ends[max(0, done - WINDOW // 2) : done + WINDOW // 2]
        steps = [after - before for before, after in itertools.pairwise(ends)]
        return statistics.median(steps) if len(ends) == WINDOW else None


def search(
    directory: Path,
    sampler: Sampler,
    pruner: Pruner,
    trials: int,
    epochs: int,
    workers: int,
    runner: str = "benchmarks.search.instant_training:InstantRunner",
    callbacks: Sequence[Callback] = (),
    storage: str | None = None,
) -> tuple[float, TrialClock]:
    """Run a search; returns its seconds, with the start of its workers, and when its trials ended."""
    space = parse(SPACE)
    settings = RunSettings(
        params_file=Path("hyper.test"),
        name="study",
        out=directory,
        dataset="ml-100k",
        base={},
        metric=parse_metric("MRR@10"),
        storage=storage,
        workers=workers,
        search=SearchSettings(sampler, pruner, trials),
    )
    study_dir = StudyDirectory(directory / "study")
    study_dir.directory.mkdir()
    plan = make_plan(
        settings, space, base_config(settings, space) | {"epochs": epochs}, fake_data_summary(epochs)
    )
    study = planned_study(plan, study_dir, open_storage(study_dir, storage))
    executor = LocalExecutor(study_dir, workers, runner=runner)
    clock = TrialClock()
    started = time.perf_counter()
    try:
        Coordinator(
            plan, study, study_dir, executor, [ResultFiles(study_dir, plan, study), clock, *callbacks]
        ).run()
    finally:
        executor.close()
    return time.perf_counter() - started, clock


@app.command()
def main(
    trials: Annotated[int, typer.Option(min=1, help="Trials of the search.")] = 1000,
    reports: Annotated[int, typer.Option(min=1, help="Validations of a trial that is not pruned.")] = 10,
    workers: Annotated[int, typer.Option(min=1)] = 4,
    sampler: Annotated[str, typer.Option(help=" ".join(get_args(Sampler)))] = "grid",
    pruner: Annotated[str, typer.Option(help=" ".join(get_args(Pruner)))] = "median",
    postgresql: Annotated[
        bool, typer.Option("--postgresql", help="Use a PostgreSQL server started for it instead of SQLite.")
    ] = False,
) -> None:
    """Time a search whose trials take no time, on SQLite and with real worker processes."""
    with tempfile.TemporaryDirectory() as scratch, database_server() if postgresql else nullcontext() as url:
        seconds, clock = search(Path(scratch), sampler, pruner, trials, reports, workers, storage=url)  # type: ignore[arg-type]
    points = {done: clock.seconds_per_trial(done) for done in sorted({100, 1000, trials - WINDOW // 2})}
    known = {done: value for done, value in points.items() if value is not None}
    result: dict[str, Any] = {
        "trials": trials,
        "reports": reports,
        "storage": "postgresql" if postgresql else "sqlite",
        "workers": workers,
        "sampler": sampler,
        "pruner": pruner,
        "seconds": round(seconds, 2),
        "milliseconds_per_trial": {str(done): round(1000 * value, 2) for done, value in known.items()},
        "growth": round(known[max(known)] / known[min(known)], 2) if len(known) > 1 else None,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    start(app)
