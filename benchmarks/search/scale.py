"""Measure how a search scales: python -m benchmarks.search.scale study|coordinator|workers --help."""

from __future__ import annotations

import gc
import itertools
import json
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from optuna.trial import TrialState
from typing_extensions import override

from benchmarks.common import print_progress, start
from benchmarks.fused.trials_per_hour import measure_search
from benchmarks.search.coordinator import search
from benchmarks.search.instant_training import METRIC, fake_data_summary
from benchmarks.search.large_database import EPOCHS, SPACE, add_trials, learning_curve, score
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.settings import RunSettings, SearchSettings
from sasrecf_tune.messages import Decision, Report, Result
from sasrecf_tune.report.study_files import ResultFiles
from sasrecf_tune.search.callbacks import Callback
from sasrecf_tune.search.plan import Plan, base_config, make_plan
from sasrecf_tune.search.strategies.distributions import distributions
from sasrecf_tune.search.strategies.history import History
from sasrecf_tune.search.study import TuneStudy
from sasrecf_tune.search.study_setup import make_sampler, planned_study
from sasrecf_tune.storage.database.open import open_storage
from sasrecf_tune.storage.directory import StudyDirectory

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
_PACED = "benchmarks.search.instant_training:PacedRunner"


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the processor time of `work` in seconds, and its result."""
    started = time.process_time()
    found = work()
    return time.process_time() - started, found


def time_trial(plan: Plan, study: TuneStudy, cost: dict[str, list[float]]) -> None:
    """Time asking for a trial, reporting all its epochs, and telling its result; none is pruned."""
    seconds, trial = timed(lambda: study.ask(distributions(plan.space), lambda _: {"seed": 2020}))
    cost["ask"].append(seconds)
    scores = learning_curve(score(plan.space.decode(trial.params), random.Random(trial.number)), EPOCHS)
    for epoch, value in enumerate(scores, 1):
        report = Report(trial.number, epoch, value, {METRIC: value}, 1.0, 60.0)
        cost["report"].append(timed(partial(study.report, trial, report))[0])
    valid = {METRIC: scores[-1]}
    result = Result(
        trial.number, Decision.CONTINUE, EPOCHS, EPOCHS, valid, valid, {METRIC: scores}, 60.0, "cpu", 1
    )
    cost["tell"].append(timed(lambda: study.tell(trial, result))[0])


def measure_study(plan: Plan, study_dir: StudyDirectory, running: int, window: int) -> dict[str, Any]:
    """Return what each step of a search costs with the study's trials, of which `running` are running."""
    row: dict[str, Any] = {}

    def opened() -> TuneStudy:
        return planned_study(plan, study_dir, open_storage(study_dir, None))

    row["open_s"], study = timed(opened)
    # Opening the study has put the running trials back into the queue.
    storage, queue = study.optuna._storage, study.optuna.get_trials(deepcopy=False)[-running:]
    with study.storage.transaction():
        for waiting in queue if running else []:
            storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING)
    gc.collect()
    history = History(plan.space)
    history.add_trials(study.optuna.get_trials(deepcopy=False))
    study.optuna.sampler = make_sampler(plan, history)
    cost: dict[str, list[float]] = {"ask": [], "report": [], "tell": []}
    for _ in range(window):
        time_trial(plan, study, cost)
    # The first of each fills the caches.
    row |= {f"{step}_ms": 1000 * statistics.fmean(seconds[1:]) for step, seconds in cost.items()}
    files = ResultFiles(study_dir, plan, study)
    row["files_s"] = timed(files._write_ranking)[0]
    row["peak_memory_MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row["database_MiB"] = study_dir.database.stat().st_size / 2**20
    study.storage.backend.engine.dispose()
    return row


@app.command()
def study(
    marks: Annotated[
        str, typer.Option(help="Numbers of trials to measure at.")
    ] = "1000,3000,10000,30000,100000",
    workers: Annotated[int, typer.Option(min=0, help="Number of running trials.")] = 1000,
    window: Annotated[int, typer.Option(min=4, help="Trials that are timed at each number.")] = 40,
    limit: Annotated[float, typer.Option(help="Begin no further number after so many seconds.")] = 900,
) -> None:
    """Time the study layer as a study grows: one process, SQLite, made-up trials.

    `open_s` is how long `resume` waits; ask, report (with the median pruner) and tell are means;
    `files_s` is the time to write all result files once, which takes at most 5% of a search's time.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        space = parse(SPACE)
        settings = RunSettings(
            params_file=Path("hyper.test"),
            name="study",
            out=Path(scratch),
            dataset="ml-100k",
            base={},
            metric=parse_metric("MRR@10"),
            workers=1,
            search=SearchSettings("grid", "median", 150_000),
        )
        study_dir = StudyDirectory(Path(scratch) / "study")
        study_dir.directory.mkdir()
        base = base_config(settings, space) | {"epochs": EPOCHS}
        plan = make_plan(settings, space, base, fake_data_summary(EPOCHS))
        planned_study(plan, study_dir, open_storage(study_dir, None)).storage.backend.engine.dispose()  # type: ignore[attr-defined]
        for trials in map(int, marks.split(",")):
            if time.monotonic() - began > limit:
                print_progress(f"stopped before {trials} trials: {limit:g} seconds have passed")
                break
            add_trials(
                study_dir.database, _cells(plan, study_dir), distributions(space), trials + workers, workers
            )
            row = {"trials": trials, "running": workers} | measure_study(plan, study_dir, workers, window)
            print(
                json.dumps({k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()}),
                flush=True,
            )


def _cells(plan: Plan, study_dir: StudyDirectory) -> Iterator[dict[str, Any]]:
    """Yield the cells that the study does not have, in random order."""
    storage = open_storage(study_dir, None)
    history = History(plan.space)
    history.add_trials(storage.get_all_trials(storage.get_study_id_from_name(study_dir.name), deepcopy=False))
    storage.engine.dispose()
    assert plan.cells is not None
    cells = plan.cells()
    for cell in random.Random(len(history._numbers)).sample(cells, len(cells)):
        if not history.taken(cell, -1):
            yield dict(cell)


class DecisionWaits(Callback):
    """Records how long workers waited for a decision, which `PacedRunner` reports."""

    def __init__(self, warm_up: int) -> None:
        self._warm_up = warm_up
        self.seconds: list[float] = []
        self.reports = 0
        self.first = self.last = (0.0, 0.0)  # wall-clock and processor time

    @override
    def on_report(self, report: Report) -> None:
        if report.number < self._warm_up:
            return
        self.last = time.monotonic(), time.process_time()
        if not self.reports:
            self.first = self.last
        self.reports += 1
        if report.epoch > 1:
            self.seconds.append(report.seconds)


@app.command()
def coordinator(
    workers: Annotated[str, typer.Option(help="Numbers of worker processes.")] = "1,4,16,64",
    reports: Annotated[int, typer.Option(min=2, help="Validations of a trial, ten a second.")] = 50,
) -> None:
    """Time one coordinator whose worker processes do not train but report every 100 ms.

    Each worker's first trial is not counted. The processor time is all of the coordinator's: reports, and
    the trials that it asks for and tells meanwhile.
    """
    for count in map(int, workers.split(",")):
        waits = DecisionWaits(count)
        with tempfile.TemporaryDirectory() as scratch:
            search(Path(scratch), "grid", "median", 3 * count, reports, count, _PACED, [waits])
        found = sorted(waits.seconds)
        elapsed, own = (last - first for first, last in zip(waits.first, waits.last, strict=True))
        row = {
            "workers": count,
            "reports_per_second": (waits.reports - 1) / elapsed,
            "wait_ms median": 1000 * statistics.median(found),
            "wait_ms 99%": 1000 * found[int(0.99 * len(found))],
            "coordinator_cpu": own / elapsed,
            "cpu_ms_per_report": 1000 * own / (waits.reports - 1),
        }
        print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}), flush=True)


@app.command()
def workers(
    counts: Annotated[str, typer.Option("--workers", help="Numbers of workers.")] = "1,2,4",
    fuse: Annotated[
        str, typer.Option(metavar="1,4", help="Values of run's --fuse, for each number of workers.")
    ] = "1",
    trials: Annotated[int, typer.Option(min=1, help="Minimum number of trials of each search.")] = 8,
    gpus: Annotated[str, typer.Option(help="As run's --gpus.")] = "none",
    setting: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, as run's.")] = None,
) -> None:
    """Measure trials per hour and memory per worker of real searches on ml-100k."""
    for count, fused in itertools.product(map(int, counts.split(",")), map(int, fuse.split(","))):
        print(json.dumps(measure_search(count, fused, trials, gpus, setting or [])), flush=True)


if __name__ == "__main__":
    start(app)
