"""Where a search stops scaling: python benchmarks/scale.py study|coordinator|workers --help."""

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
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from coordinator import search
from entry import say, start
from grown import EPOCHS, SPACE, curve, grow, score
from instant import METRIC, made_up
from optuna.trial import TrialState
from trials_per_hour import measured

from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.settings import RunSettings, SearchSettings
from sasrecf_tune.messages import Decision, Report, Result
from sasrecf_tune.report.study_files import ResultFiles
from sasrecf_tune.search.callbacks import Callback
from sasrecf_tune.search.coordinator import make_sampler, planned_study
from sasrecf_tune.search.plan import Plan, base_config, make_plan
from sasrecf_tune.search.strategies.distributions import distributions
from sasrecf_tune.search.strategies.samplers import History
from sasrecf_tune.search.study import TuneStudy
from sasrecf_tune.storage.database.open import open_storage
from sasrecf_tune.storage.directory import StudyDirectory

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
_SAMPLERS = ("grid", "best-first")


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """The processor's seconds that it took, and what it gave."""
    started = time.process_time()
    found = work()
    return time.process_time() - started, found


def one_trial(plan: Plan, study: TuneStudy, cost: dict[str, list[float]]) -> None:
    """Ask for a trial, report all its epochs but prune none, and tell its end, each timed."""
    seconds, trial = timed(lambda: study.ask(distributions(plan.space), lambda _: {"seed": 2020}))
    cost["ask"].append(seconds)
    scores = curve(score(plan.space.decode(trial.params), random.Random(trial.number)), EPOCHS)
    for epoch, value in enumerate(scores, 1):
        report = Report(trial.number, epoch, value, {METRIC: value}, 1.0, 60.0)
        cost["report"].append(timed(partial(study.report, trial, report))[0])
    valid = {METRIC: scores[-1]}
    result = Result(
        trial.number, Decision.CONTINUE, EPOCHS, EPOCHS, valid, valid, {METRIC: scores}, 60.0, "cpu", 1
    )
    cost["tell"].append(timed(lambda: study.tell(trial, result))[0])


def at(plan: Plan, study_dir: StudyDirectory, running: int, window: int) -> dict[str, Any]:
    """What each step of a search costs with the trials that the study holds, `running` of them running."""
    row: dict[str, Any] = {}

    def opened() -> TuneStudy:
        return planned_study(plan, study_dir, open_storage(study_dir, None))

    row["open_s"], study = timed(opened)
    # Opening has put them back into the queue, as it must when it finds running ones.
    storage, queue = study.optuna._storage, study.optuna.get_trials(deepcopy=False)[-running:]
    with study._storage.transaction():
        for waiting in queue if running else []:
            storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING)
    gc.collect()
    for name in _SAMPLERS:
        history = History(plan.space)
        history.fill(study.optuna.get_trials(deepcopy=False))
        study.optuna.sampler = make_sampler(replace(plan, sampler=name), history)
        cost: dict[str, list[float]] = {"ask": [], "report": [], "tell": []}
        for _ in range(window if name == "grid" else max(3, window // 4)):
            one_trial(plan, study, cost)
        # The first of each fills caches.
        found = {f"{step}_ms": 1000 * statistics.fmean(seconds[1:]) for step, seconds in cost.items()}
        row |= found if name == "grid" else {"best_first_ask_ms": found["ask_ms"]}
    files = ResultFiles(study_dir, plan, study)
    row["files_s"] = timed(files._write_ranking)[0]
    row["peak_memory_MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row["database_MiB"] = study_dir.database.stat().st_size / 2**20
    study._storage.backend.engine.dispose()
    return row


@app.command()
def study(
    marks: Annotated[
        str, typer.Option(help="Numbers of trials to look at.")
    ] = "1000,3000,10000,30000,100000",
    workers: Annotated[int, typer.Option(min=0, help="Trials that run at the time.")] = 1000,
    window: Annotated[int, typer.Option(min=4, help="Trials that are timed at each.")] = 40,
    limit: Annotated[float, typer.Option(help="Begin no further one after so many seconds.")] = 900,
) -> None:
    """Time what a search asks of the study layer as it grows: one process, SQLite, made-up trials.

    `open_s` is what `resume` waits for; ask, report (with the forecast pruner) and tell are means;
    `files_s` is one writing of all result files, which takes 5% of a search's time at most.
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
            search=SearchSettings("grid", "forecast", 150_000),
        )
        study_dir = StudyDirectory(Path(scratch) / "study")
        study_dir.directory.mkdir()
        base = base_config(settings, space) | {"epochs": EPOCHS}
        plan = make_plan(settings, space, base, made_up(EPOCHS))
        planned_study(plan, study_dir, open_storage(study_dir, None))._storage.backend.engine.dispose()  # type: ignore[attr-defined]
        for trials in map(int, marks.split(",")):
            if time.monotonic() - began > limit:
                say(f"stopped before {trials} trials: {limit:g} seconds are over")
                break
            grow(study_dir.database, _cells(plan, study_dir), distributions(space), trials + workers, workers)
            row = {"trials": trials, "running": workers} | at(plan, study_dir, workers, window)
            print(
                json.dumps({k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()}),
                flush=True,
            )


def _cells(plan: Plan, study_dir: StudyDirectory) -> Iterator[dict[str, Any]]:
    """Cells that the study does not hold, at random."""
    storage = open_storage(study_dir, None)
    history = History(plan.space)
    history.fill(
        storage.get_all_trials(storage.get_study_id_from_name(study_dir.optuna_name), deepcopy=False)
    )
    storage.engine.dispose()
    assert plan.cells is not None
    cells = plan.cells()
    for cell in random.Random(len(history._cells)).sample(cells, len(cells)):
        if not history.taken(cell, -1):
            yield dict(cell)


class WaitingWorkers(Callback):
    """Notes how long workers waited for a decision: `instant.Paced` says it in its next report."""

    def __init__(self, warm_up: int) -> None:
        self._warm_up = warm_up
        self.seconds: list[float] = []
        self.reports = 0
        self.first = self.last = (0.0, 0.0)  # the time, and the processor's

    def reported(self, report: Report) -> None:
        """See `Callback`."""
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
    """Time one coordinator with stand-ins for workers that report every 100 ms, in real processes.

    Each worker's first trial is not counted. The processor's time is all of the coordinator's: reports, and
    the trials that it asks for and tells of meanwhile.
    """
    for count in map(int, workers.split(",")):
        waits = WaitingWorkers(count)
        with tempfile.TemporaryDirectory() as scratch:
            search(Path(scratch), "grid", "forecast", 3 * count, reports, count, "instant:Paced", [waits])
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
    fuse: Annotated[str, typer.Option(metavar="1,4", help="As run's --fuse, each for each.")] = "1",
    trials: Annotated[int, typer.Option(min=1, help="Trials of each search, at least.")] = 8,
    gpus: Annotated[str, typer.Option(help="As run's --gpus.")] = "none",
    setting: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, as run's.")] = None,
) -> None:
    """Trials per hour and memory per worker of real searches on ml-100k, with 1, 2 and 4 workers."""
    for count, fused in itertools.product(map(int, counts.split(",")), map(int, fuse.split(","))):
        print(json.dumps(measured(count, fused, trials, gpus, setting or [])), flush=True)


if __name__ == "__main__":
    start(app)
