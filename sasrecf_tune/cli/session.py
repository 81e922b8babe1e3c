"""What `run`, `confirm` and `reproduce` share: checks, workers, the data, signals and the live view."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import FrameType

from rich.console import Console

from sasrecf_tune.environment import process_name
from sasrecf_tune.executors.base import Executor, Telling
from sasrecf_tune.executors.local import LocalExecutor
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import AUTO_FUSE, RunSettings, format_duration
from sasrecf_tune.inputs.validation import check_model, check_space
from sasrecf_tune.messages import Config, DataSummary, Describe
from sasrecf_tune.report.terminal import progress
from sasrecf_tune.search.fusion import plan_fusion
from sasrecf_tune.search.plan import Plan, base_config, first_configuration, searched_features
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.files import private_directory, remove, temporary_files


def checked_base(settings: RunSettings, space: SearchSpace) -> Config:
    """The base configuration, after every check that needs no data.

    Raises:
        InputError: a value, a name or a combination is wrong.
    """
    check_space(space, check_model(settings.model))
    return base_config(settings, space)


@contextlib.contextmanager
def at_work(settings: RunSettings, study_dir: StudyDirectory) -> Iterator[Executor]:
    """Hold the study, with workers, after a look at its database; what that raises is told as its own.

    Alone, unless a server's database holds it.

    Raises:
        StorageError: another run is at work on it, or its database cannot be used.
    """
    from sasrecf_tune.storage.database.errors import check_database, reading_errors
    from sasrecf_tune.storage.database.open import check_storage
    from sasrecf_tune.storage.lock import abandoned, exclusive, shared

    def tidy() -> None:
        left = [*temporary_files(study_dir.directory), *study_dir.leftovers()]
        remove(abandoned(study_dir, left) if settings.storage else left)

    own = replace(study_dir, coordinator=process_name() if settings.storage else "")
    with shared(study_dir, tidy) if settings.storage else exclusive(study_dir):
        if settings.storage is None:
            tidy()  # before this run has made anything of its own
        with executor_for(settings, own) as executor, reading_errors(study_dir, settings.storage):
            if settings.storage is None:
                check_database(study_dir, None)
            else:
                check_storage(study_dir, settings.storage)
            yield executor


@contextlib.contextmanager
def executor_for(settings: RunSettings, study_dir: StudyDirectory) -> Iterator[Executor]:
    """Workers that are gone when the block ends, however it ends; `study_dir` has their own files."""
    if settings.executor == "ray":
        from sasrecf_tune.executors.ray.executor import ray_executor

        with ray_executor(settings, study_dir) as on_cluster:
            yield on_cluster
        return
    with private_directory(study_dir.prepared) as directory:
        executor = LocalExecutor(
            study_dir,
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
    with status(console, quiet, f"preparing {settings.dataset}"):
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
    with status(console, quiet or not timed, "timing trials that train as one model"):
        fusion = plan_fusion(settings, config, executor, measured)
    return replace(plan, notes=(*plan.notes, fusion.text)), fusion.speedup


@contextlib.contextmanager
def view(
    state: progress.Progress, console: Console, as_json: bool
) -> Iterator[progress.PlainView | progress.JsonView | progress.LiveView]:
    """What shows `state` on the console, or as JSON lines."""
    if as_json:
        yield progress.JsonView(state)
    elif console.is_terminal:
        with progress.LiveView(state, console) as live:
            yield live
    else:
        yield progress.PlainView(state, console)


def saying(console: Console, as_json: bool) -> Callable[[str], None]:
    """What tells people, or a program, of something that is no event of a trial's."""

    def say(text: str) -> None:
        if as_json:
            progress.emit({"event": "note", "text": text})
        else:
            console.print(text, style="yellow", highlight=False, markup=False, soft_wrap=True)

    return say


@contextlib.contextmanager
def stopping_on_signals(search: object, grace: float, console: Console, quiet: bool) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM ends the search after the running epochs; the second at once.

    After SIGTERM a scheduler's SIGKILL follows, so the epochs have `grace` seconds at most. Nor is a database
    that hangs waited for.
    """
    from sasrecf_tune.search.coordinator import Coordinator

    assert isinstance(search, Coordinator)

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
def status(console: Console, quiet: bool, text: str) -> Iterator[None]:
    """Show `text` while the block runs."""
    if quiet:
        yield
    elif console.is_terminal:
        with console.status(text):
            yield
    else:
        console.print(f"{text} ...", highlight=False)
        yield
