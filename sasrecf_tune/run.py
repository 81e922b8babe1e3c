"""`sasrecf-tune run`, from settings to the ranked table."""

from __future__ import annotations

import contextlib
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from sasrecf_tune import progress as views
from sasrecf_tune.checks import check_model, check_space
from sasrecf_tune.chosen import choose
from sasrecf_tune.executors.base import Executor, Telling
from sasrecf_tune.executors.local import LocalExecutor
from sasrecf_tune.files import make_directory, remove, unfinished
from sasrecf_tune.fusing import fuse
from sasrecf_tune.layout import Layout, study_layout
from sasrecf_tune.machine import process_name
from sasrecf_tune.manifest import read_manifest, settings_content, write_manifest
from sasrecf_tune.messages import Config, DataSummary, Describe, Measure
from sasrecf_tune.observer import Observer
from sasrecf_tune.plan import Plan, base_config, first_configuration, make_plan, searched_features
from sasrecf_tune.ranking import COMPLETE, ENDED, RUNNING, WAITING
from sasrecf_tune.report.tables import varied
from sasrecf_tune.scratch import private_directory
from sasrecf_tune.settings import AUTO_FUSE, RunSettings, format_duration
from sasrecf_tune.space import SearchSpace
from sasrecf_tune.summary import estimate, plan_facts, show_end, show_plan, show_timings

_MEASURED_STEPS = 3


def run(settings: RunSettings, space: SearchSpace, console: Console, *, as_json: bool = False) -> int:
    """Search, show progress, and end with the ranked table; returns the exit code.

    Raises:
        TuneError: see `errors`; bad input is found before any training.
    """
    from sasrecf_tune.company import noted
    from sasrecf_tune.confirm import confirm_best
    from sasrecf_tune.confirmation_study import load_confirmations
    from sasrecf_tune.damage import check_begun, reading_errors, shown
    from sasrecf_tune.report.page import write_page
    from sasrecf_tune.result_files import ResultFiles
    from sasrecf_tune.search import Search, planned_study
    from sasrecf_tune.storage import open_storage

    base = checked_base(settings, space)
    layout = study_layout(settings.out, settings.name)
    with at_work(settings, layout) as executor:
        plan = make_plan(settings, space, base, describe(settings, space, base, executor, console, as_json))
        plan, _ = fused(plan, executor, console, as_json)
        storage = open_storage(layout, settings.storage)
        check_begun(layout, storage, settings.storage)
        with reading_errors(layout, settings.storage):
            study = planned_study(plan, layout, storage, saying(console, as_json))
            records = study.records()
            _, confirmed, _ = load_confirmations(layout, storage, space, records)
        again = sum(record.state == WAITING for record in records)
        plan, earlier = _with_history(plan, layout, any(record.state in ENDED for record in records))
        plan = noted(plan, study.company.others())
        write_manifest(
            layout,
            settings_content(settings, space, settings.storage and shown(layout, settings.storage))
            | {"identity": plan.identity(), "data": vars(plan.data), "sampler": plan.sampler}
            | {"pruner": plan.pruner.recorded, "planned_trials": plan.trials}
            | {"earlier": earlier},
            trains=sum(record.state in ENDED for record in records) < plan.trials,
        )
        files = ResultFiles(layout, plan, study, confirmed=confirmed)
        state = views.make_progress(
            varied(space),
            str(settings.metric),
            study.maximize,
            plan.trials,
            plan.epochs,
            settings.workers,
            records,
        )
        if as_json:
            views.emit({"event": "plan", **plan_facts(plan), "done": len(state.records)})
        else:
            show_plan(plan, layout, console, done=len(state.records), again=again)
        with view(state, console, as_json) as display:
            observers: list[Observer] = [files, display]
            search = Search(plan, study, layout, executor, observers)
            with stopping_on_signals(search, settings.search.grace, console, as_json):
                outcome = search.run()
        records = study.records()
        if as_json:
            views.emit(
                {
                    "event": "end",
                    "reason": outcome.reason,
                    "ended": outcome.done,
                    "directory": str(layout.directory),
                }
            )
        else:
            chosen = choose(records, confirmed, study.maximize, settings.unit)
            show_end(plan, layout, records, outcome, chosen, console)
        if any(record.state in ENDED for record in records):
            # After the table, which must not wait for pictures.
            write_page(layout, settings, space)
        last = study.company.leave(patient=bool(settings.search.confirm) and not outcome.interrupted)
        if last and study.company.met_others:
            # They may have written to the same directory meanwhile, and have left by now.
            files.again(study.records())
            write_page(layout, settings, space)
        if outcome.interrupted:
            return 130
        if outcome.failed:
            return 1
        if not any(record.state == COMPLETE for record in records):
            # What others still train may complete yet: they will say.
            return 0 if not last and any(record.state == RUNNING for record in records) else 1
        if not settings.search.confirm or not last:
            return 0
        code = confirm_best(plan, layout, storage, records, executor, console, as_json=as_json)
        write_page(layout, settings, space)
        return code


def dry_run(settings: RunSettings, space: SearchSpace, console: Console, *, as_json: bool = False) -> int:
    """Print the plan and how long it would take, after timing a few steps; writes nothing.

    Raises:
        TuneError: as `run`.
    """
    base = checked_base(settings, space)
    with tempfile.TemporaryDirectory() as scratch:
        layout = Layout(Path(scratch) / settings.name)
        make_directory(layout.directory)
        began = time.monotonic()
        with executor_for(settings, layout) as executor:
            plan = make_plan(
                settings, space, base, describe(settings, space, base, executor, console, as_json)
            )
            startup = time.monotonic() - began
            plan, gain = fused(plan, executor, console, as_json, measured=True)
            with _status(console, as_json, "timing a few steps"):
                timings = [executor.measure(request) for request in _measured(plan, layout)]
    shown = study_layout(settings.out, settings.name)
    in_all = estimate(plan, timings, startup, gain)
    if as_json:
        seconds = [round(timing.epoch_seconds, 3) for timing in timings]
        views.emit(
            {"event": "plan", **plan_facts(plan), "epoch_seconds": seconds, "seconds": round(in_all, 3)}
        )
    else:
        show_plan(plan, shown, console)
        show_timings(plan, timings, in_all, console)
    return 0


def checked_base(settings: RunSettings, space: SearchSpace) -> Config:
    """The base configuration, after every check that needs no data.

    Raises:
        InputError: a value, a name or a combination is wrong.
    """
    check_space(space, check_model(settings.model))
    return base_config(settings, space)


@contextlib.contextmanager
def at_work(settings: RunSettings, layout: Layout) -> Iterator[Executor]:
    """Hold the study, with workers, after a look at its database; what that raises is told as its own.

    Alone, unless a server's database holds it.

    Raises:
        StorageError: another run is at work on it, or its database cannot be used.
    """
    from sasrecf_tune.damage import check_database, reading_errors
    from sasrecf_tune.lock import abandoned, among_others, exclusive
    from sasrecf_tune.storage import reach_storage

    def tidy() -> None:
        left = [*unfinished(layout.directory), *layout.leftovers()]
        remove(abandoned(layout, left) if settings.storage else left)

    own = replace(layout, coordinator=process_name() if settings.storage else "")
    with among_others(layout, tidy) if settings.storage else exclusive(layout):
        if settings.storage is None:
            tidy()  # before this run has made anything of its own
        with executor_for(settings, own) as executor, reading_errors(layout, settings.storage):
            if settings.storage is None:
                check_database(layout, None)
            else:
                reach_storage(layout, settings.storage)
            yield executor


@contextlib.contextmanager
def executor_for(settings: RunSettings, layout: Layout) -> Iterator[Executor]:
    """Workers that are gone when the block ends, however it ends; `layout` has their own files."""
    if settings.executor == "ray":
        from sasrecf_tune.executors.ray import ray_executor

        with ray_executor(settings, layout) as on_cluster:
            yield on_cluster
        return
    with private_directory(layout.prepared) as directory:
        executor = LocalExecutor(
            layout,
            settings.workers,
            settings.gpus,
            settings.search.hang_timeout,
            # One worker has nobody to share with, and would write for nothing.
            shared=directory if settings.workers > 1 else None,
            threads=settings.threads,
            slots=settings.fuse,
        )
        try:
            yield executor
        finally:
            executor.close()


def describe(
    settings: RunSettings,
    space: SearchSpace,
    base: Config,
    executor: Executor,
    console: Console,
    quiet: bool,
) -> DataSummary:
    """Prepare the data in a worker and check it.

    Raises:
        InputError: configuration or data cannot be used.
    """
    if isinstance(executor, Telling):
        executor.say = saying(console, quiet)
    config = first_configuration(space, base) | {"seed": settings.seed}
    with _status(console, quiet, f"preparing {settings.dataset}"):
        return executor.describe(Describe(config, settings.engine, searched_features(space)))


def fused(
    plan: Plan, executor: Executor, console: Console, quiet: bool, measured: bool = False
) -> tuple[Plan, float]:
    """The plan with a note on trials that train as one model, and how many times as fast they train.

    Raises:
        TuneError: as `describe`.
    """
    settings = plan.settings
    if settings.fuse == 1:
        return plan, 1.0
    config = first_configuration(plan.space, plan.base) | {"seed": settings.seed}
    timed = measured or settings.fuse == AUTO_FUSE
    with _status(console, quiet or not timed, "timing trials that train as one model"):
        found = fuse(settings, config, executor, measured)
    return replace(plan, notes=(*plan.notes, found.text)), found.ratio


def _with_history(plan: Plan, layout: Layout, begun: bool) -> tuple[Plan, list[Any]]:
    """The plan, with a note where the study was searched otherwise before; and all earlier ways."""
    if not begun or not layout.manifest.is_file():
        return plan, []
    last = read_manifest(layout)
    earlier = list(last.get("earlier", []))
    if (last["sampler"], last["pruner"]) == (plan.sampler, plan.pruner.recorded):
        return plan, earlier
    earlier.append({"sampler": last["sampler"], "pruner": last["pruner"], "until": last["updated"]})
    note = f"trials up to now were chosen by {last['sampler']} and pruned by {last['pruner']['name']}"
    return replace(plan, notes=(*plan.notes, f"{note}; manifest.json keeps both")), earlier


def _measured(plan: Plan, layout: Layout) -> list[Measure]:
    """Requests for the first, the middle and the last of the cells, which tend to differ in cost."""
    if plan.cells is not None:
        cells = plan.cells()
        some = [cells[i] for i in sorted({0, len(cells) // 2, len(cells) - 1})]
        configs = [plan.config(plan.space.decode(labels)) for labels in some]
    else:
        configs = [first_configuration(plan.space, plan.base) | {"seed": plan.settings.seed}]
    scratch = {"checkpoint_dir": str(layout.checkpoints)}
    return [Measure(config | scratch, plan.settings.engine, _MEASURED_STEPS) for config in configs]


@contextlib.contextmanager
def view(
    state: views.Progress, console: Console, as_json: bool
) -> Iterator[views.PlainView | views.JsonView | views.LiveView]:
    """What shows `state` on the console, or as JSON lines."""
    if as_json:
        yield views.JsonView(state)
    elif console.is_terminal:
        with views.LiveView(state, console) as live:
            yield live
    else:
        yield views.PlainView(state, console)


def saying(console: Console, as_json: bool) -> Callable[[str], None]:
    """What tells people, or a program, of something that is no event of a trial's."""

    def say(text: str) -> None:
        if as_json:
            views.emit({"event": "note", "text": text})
        else:
            console.print(text, style="yellow", highlight=False, markup=False, soft_wrap=True)

    return say


@contextlib.contextmanager
def stopping_on_signals(search: object, grace: float, console: Console, quiet: bool) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM ends the search after the running epochs; the second at once.

    After SIGTERM a scheduler's SIGKILL follows, so the epochs have `grace` seconds at most. Nor is a database
    that hangs waited for.
    """
    from sasrecf_tune.search import Search

    assert isinstance(search, Search)

    def stop(number: int, _: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, 1.0, 1.0)
        if search.stopping:
            raise KeyboardInterrupt
        if number == signal.SIGTERM:
            search.stop("stopped by SIGTERM", grace)
            limit = f", in {format_duration(grace)} at the latest"
        else:
            search.stop("stopped by Ctrl-C")
            limit = ""
        if not quiet:
            console.print(f"stopping after the running epochs{limit}; once more stops now", style="yellow")

    def look(_: int, __: FrameType | None) -> None:
        if search.hangs():
            raise KeyboardInterrupt

    handlers = {signal.SIGINT: stop, signal.SIGTERM: stop, signal.SIGALRM: look}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _status(console: Console, quiet: bool, text: str) -> Iterator[None]:
    if quiet:
        yield
    elif console.is_terminal:
        with console.status(text):
            yield
    else:
        console.print(f"{text} ...", highlight=False)
        yield
