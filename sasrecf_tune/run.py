"""`sasrecf-tune run`, from settings to the ranked table."""

from __future__ import annotations

import contextlib
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sasrecf_tune import progress as views
from sasrecf_tune.checks import check_space
from sasrecf_tune.errors import InputError
from sasrecf_tune.executors.base import Executor
from sasrecf_tune.executors.local import LocalExecutor
from sasrecf_tune.files import drop_unfinished, make_directory
from sasrecf_tune.layout import Layout, study_layout
from sasrecf_tune.manifest import settings_content, write_manifest
from sasrecf_tune.messages import Config, DataSummary, Describe, Measure, Timing
from sasrecf_tune.plan import Plan, base_config, first_configuration, make_plan, searched_features
from sasrecf_tune.ranking import COMPLETE, ENDED, TrialRecord, rank
from sasrecf_tune.report.exports import cell_text
from sasrecf_tune.report.tables import print_failures, ranking_table, varied
from sasrecf_tune.scratch import private_directory
from sasrecf_tune.screen import print_table
from sasrecf_tune.settings import RunSettings, format_duration
from sasrecf_tune.space import SearchSpace

_MEASURED_STEPS = 3
_SHOWN_ROWS = 15


def run(settings: RunSettings, space: SearchSpace, console: Console, *, as_json: bool = False) -> int:
    """Search, show progress, and end with the ranked table; returns the exit code.

    Raises:
        TuneError: see `errors`; bad input is found before any training.
    """
    from sasrecf_tune.damage import check_database, reading_errors, shown, storage_errors
    from sasrecf_tune.pruners import make_pruner
    from sasrecf_tune.result_files import ResultFiles
    from sasrecf_tune.samplers import History
    from sasrecf_tune.search import Observer, Outcome, Search, make_sampler
    from sasrecf_tune.storage import open_storage
    from sasrecf_tune.study import exclusive, open_study

    base = checked_base(settings, space)
    layout = study_layout(settings.out, settings.name)
    with (
        exclusive(layout),
        executor_for(settings, layout) as executor,
        storage_errors(layout, settings.storage),
    ):
        drop_unfinished(layout.directory)
        check_database(layout, settings.storage)
        plan = make_plan(settings, space, base, describe(settings, space, base, executor, console, as_json))
        storage = open_storage(layout, settings.storage)
        history = History(space)
        sampler, pruner = make_sampler(plan, history), make_pruner(plan.pruner)
        with reading_errors(layout, settings.storage):
            study = open_study(
                layout, storage, space, plan.identity(), settings.metric.maximize, sampler, pruner
            )
            history.fill(study.optuna.get_trials(deepcopy=False))
            again = study.requeue_interrupted()
            records = study.records()
        write_manifest(
            layout,
            settings_content(settings, space, settings.storage and shown(layout, settings.storage))
            | {"identity": plan.identity(), "data": vars(plan.data), "sampler": plan.sampler}
            | {"pruner": {"name": plan.pruner.name, **plan.pruner.arguments}, "planned_trials": plan.trials},
        )
        files = ResultFiles(layout, plan, study)
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
        with _view(state, console, as_json) as view:
            observers: list[Observer] = [files, view]
            search = Search(plan, study, layout, executor, observers)
            with _stopping_on_signals(search, settings.search.grace, console, as_json):
                outcome: Outcome = search.run()
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
        show_end(plan, layout, records, outcome.reason, console)
    if outcome.interrupted:
        return 130
    if outcome.failed:
        return 1
    return 0 if any(record.state == COMPLETE for record in records) else 1


def dry_run(settings: RunSettings, space: SearchSpace, console: Console, *, as_json: bool = False) -> int:
    """Print the plan and how long it would take, after timing a few steps; writes nothing.

    Raises:
        TuneError: as `run`.
    """
    base = checked_base(settings, space)
    with tempfile.TemporaryDirectory() as scratch:
        layout = Layout(Path(scratch) / settings.name)
        make_directory(layout.directory)
        with executor_for(settings, layout) as executor:
            plan = make_plan(
                settings, space, base, describe(settings, space, base, executor, console, as_json)
            )
            with _status(console, as_json, "timing a few steps"):
                timings = [executor.measure(request) for request in _measured(plan, layout)]
    shown = study_layout(settings.out, settings.name)
    if as_json:
        views.emit(
            {
                "event": "plan",
                **plan_facts(plan),
                "epoch_seconds": [round(timing.epoch_seconds, 3) for timing in timings],
            }
        )
    else:
        show_plan(plan, shown, console)
        _show_timings(plan, timings, console)
    return 0


def checked_base(settings: RunSettings, space: SearchSpace) -> Config:
    """The base configuration, after every check that needs no data.

    Raises:
        InputError: a value, a name or a combination is wrong.
    """
    check_space(space)
    if settings.model != "SASRecF":
        raise InputError(
            f"model {settings.model!r} cannot be tuned", where="--model", fix="This tuner is for SASRecF."
        )
    return base_config(settings, space)


@contextlib.contextmanager
def executor_for(settings: RunSettings, layout: Layout) -> Iterator[Executor]:
    """Worker processes that are gone when the block ends, however it ends. The study is this run's alone."""
    with private_directory(layout.prepared) as directory:
        executor = LocalExecutor(
            layout,
            settings.workers,
            settings.gpus,
            settings.search.hang_timeout,
            # One worker has nobody to share with, and would write for nothing.
            shared=directory if settings.workers > 1 else None,
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
    config = first_configuration(space, base) | {"seed": settings.seed}
    with _status(console, quiet, f"preparing {settings.dataset}"):
        return executor.describe(Describe(config, settings.engine, searched_features(space)))


def plan_facts(plan: Plan) -> dict[str, object]:
    """The plan for a program."""
    return {
        "study": plan.settings.name,
        "dataset": plan.data.dataset,
        "users": plan.data.users,
        "items": plan.data.items,
        "interactions": plan.data.interactions,
        "train_samples": plan.data.train_samples,
        "space": plan.settings.params_file.name,
        "configurations": plan.feasibility.total,
        "possible": plan.feasibility.feasible,
        "sampler": plan.sampler,
        "pruner": plan.pruner.name,
        "trials": plan.trials,
        "epochs": plan.epochs,
        "metric": str(plan.settings.metric),
        "seed": plan.settings.seed,
        "engine": plan.settings.engine,
        "device": plan.data.device,
    }


def show_plan(plan: Plan, layout: Layout, console: Console, done: int = 0, again: int = 0) -> None:
    """The plan for a person."""
    data, counted = plan.data, plan.feasibility
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("study", f"{layout.name} in {_relative(layout.directory)}")
    grid.add_row(
        "data",
        f"{data.dataset}: {data.users:,} users, {data.items:,} items, {data.interactions:,} interactions; "
        f"{data.train_samples:,} training sequences",
    )
    grid.add_row("space", space_text(plan))
    for reason, count in counted.reasons:
        grid.add_row("", f"{count:,} cannot exist: {reason}")
    what = {
        "grid": f"each of the {plan.trials:,} configurations once, in random order",
        "best-first": f"{plan.trials:,} trials, the most promising configuration next, none twice",
    }.get(plan.sampler, f"{plan.trials:,} trials, none twice")
    grid.add_row("search", f"{plan.sampler}: {what}; up to {plan.epochs} epochs each")
    grid.add_row("pruner", str(plan.pruner))
    grid.add_row(
        "metric", f"{plan.settings.metric} on the validation set; nothing is selected on the test set"
    )
    workers = f", {plan.settings.workers} workers" if plan.settings.workers > 1 else ""
    threads = f", {data.threads} thread{'s' * (data.threads != 1)}" if data.device == "cpu" else ""
    grid.add_row("device", f"{data.device}{threads}{workers}; engine {plan.settings.engine}")
    if done or again:
        interrupted = f", {again} interrupted to be run again" if again else ""
        grid.add_row("continues", f"{done} of {plan.trials} trials have ended{interrupted}")
    for note in plan.notes:
        grid.add_row("note", Text(note))  # it quotes values, whose brackets are no markup
    print_table(console, grid)
    console.print()


def space_text(plan: Plan) -> str:
    """Such as "hyper.test: 120 configurations"."""
    counted, name = plan.feasibility, plan.settings.params_file.name
    if counted.total is None:
        return f"{name}: infinitely many configurations of {len(plan.space)} parameters"
    if counted.feasible == counted.total:
        return f"{name}: {counted.total:,} configurations"
    return f"{name}: {counted.feasible:,} of {counted.total:,} configurations are possible"


def show_end(plan: Plan, layout: Layout, records: list[TrialRecord], reason: str, console: Console) -> None:
    """The ranked table, why the search ended, and what comes next."""
    ended = [record for record in records if record.state in ENDED]
    rows = rank(ended, plan.settings.metric.maximize)
    shown = rows[:_SHOWN_ROWS]
    if shown:
        print_table(
            console, ranking_table(shown, varied(plan.space), str(plan.settings.metric), console.width)
        )
        if len(rows) > len(shown):
            console.print(f"... and {len(rows) - len(shown)} more: sasrecf-tune report {layout.name} --top 0")
        fixed = [f"{p.name}={cell_text(p.values[0])}" for p in plan.space if p.name not in varied(plan.space)]
        if fixed:
            console.print(Text("the same in all: " + " ".join(fixed), style="dim"))
        console.print()
    print_failures(rows, console)
    console.print(
        f"{reason[:1].upper()}{reason[1:]}. Results: {_relative(layout.directory)}",
        highlight=False,
        soft_wrap=True,
    )
    left = plan.trials - len(ended)
    if left > 0:
        console.print(
            f"{left} trials were not run. To go on: sasrecf-tune resume {layout.name}{_out(layout)}"
        )
    if any(record.state == COMPLETE for record in ended):
        console.print(f"Best configuration: {_relative(layout.best)}", highlight=False, soft_wrap=True)
    elif ended:
        console.print("No trial completed.", style="red")


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


def _show_timings(plan: Plan, timings: list[Timing], console: Console) -> None:
    seconds = sorted(timing.epoch_seconds for timing in timings)
    mean = sum(seconds) / len(seconds)
    ends = [format_duration(seconds[0]), format_duration(seconds[-1])]
    span = " to ".join(dict.fromkeys(ends))
    console.print(
        f"estimated from {timings[0].steps} steps of {len(seconds)} configurations: {span} an epoch, at most "
        f"{format_duration(mean * plan.epochs * plan.trials / plan.settings.workers)} for all "
        f"{plan.trials:,} trials; early stopping and pruning make it less",
        highlight=False,
        soft_wrap=True,
    )


@contextlib.contextmanager
def _view(
    state: views.Progress, console: Console, as_json: bool
) -> Iterator[views.PlainView | views.JsonView | views.LiveView]:
    if as_json:
        yield views.JsonView(state)
    elif console.is_terminal:
        with views.LiveView(state, console) as live:
            yield live
    else:
        yield views.PlainView(state, console)


@contextlib.contextmanager
def _stopping_on_signals(search: object, grace: float, console: Console, quiet: bool) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM ends the search after the running epochs; the second at once.

    After SIGTERM a scheduler's SIGKILL follows, so the epochs have `grace` seconds at most.
    """
    from sasrecf_tune.search import Search

    assert isinstance(search, Search)

    def stop(number: int, _: FrameType | None) -> None:
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

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
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


def _relative(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _out(layout: Layout) -> str:
    out = layout.directory.parent
    return "" if out == Path("tuning").absolute() else f" --out {_relative(out)}"
