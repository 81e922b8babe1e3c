"""What `run`, `confirm` and `reproduce` share: checks, workers, data preparation and the display."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from sasrecf_tune.environment import process_name
from sasrecf_tune.errors import InputError, UnknownReasonError, WorkerError
from sasrecf_tune.executors.allocation import Allocation
from sasrecf_tune.executors.base import Executor
from sasrecf_tune.executors.local import LocalExecutor
from sasrecf_tune.executors.visible_gpus import visible_gpus
from sasrecf_tune.inputs.hyperparameters import features_of
from sasrecf_tune.inputs.literals import is_number
from sasrecf_tune.inputs.metrics import check_per_user
from sasrecf_tune.inputs.option_values import AUTO_FUSE
from sasrecf_tune.inputs.recbole_defaults import complete_config
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import STORAGE_VARIABLE, RunSettings
from sasrecf_tune.inputs.validation import check_model, check_space
from sasrecf_tune.messages import Config, DataSummary, Describe
from sasrecf_tune.report.terminal import progress
from sasrecf_tune.report.terminal.live_view import LiveView
from sasrecf_tune.report.terminal.notebook import NotebookConsole, NotebookView
from sasrecf_tune.search.fusion import plan_fusion
from sasrecf_tune.search.plan import Plan, base_config, feature_lists, first_configuration, searched_features
from sasrecf_tune.storage.directory import ANOTHER_STUDY, StudyDirectory
from sasrecf_tune.storage.files import (
    make_directory,
    private_directory,
    refuse_links,
    remove,
    temporary_files,
)
from sasrecf_tune.storage.manifest import read_manifest
from sasrecf_tune.storage.url_masking import mask_address


@dataclass(frozen=True)
class Display:
    """Prints to the console, or JSON lines to standard output."""

    console: Console
    as_json: bool

    def line(self, text: str, style: str | None = None, wrap: bool = False) -> None:
        """Print a line, which a terminal wraps at words if `wrap`; nothing with JSON."""
        if not self.as_json:
            soft_wrap = not (wrap and self.console.is_terminal)
            self.console.print(text, style=style, highlight=False, markup=False, soft_wrap=soft_wrap)

    def emit(self, event: str, **facts: Any) -> None:
        """Print an event; nothing without JSON."""
        if self.as_json:
            progress.emit({"event": event, **facts})

    def note(self, text: str) -> None:
        """Print a note that is not about an event of a trial."""
        self.line(text, "yellow")
        self.emit("note", text=text)

    @contextlib.contextmanager
    def status(self, text: str) -> Iterator[None]:
        """Show `text` while the block runs; nothing with JSON."""
        if self.as_json:
            yield
        elif self.console.is_terminal:
            with self.console.status(text):
                yield
        else:
            self.console.print(f"{text} ...", highlight=False)
            yield

    @contextlib.contextmanager
    def show_progress(
        self, state: progress.Progress
    ) -> Iterator[progress.PlainView | progress.JsonView | LiveView]:
        """Yield the callback that shows `state` while the block runs."""
        if self.as_json:
            yield progress.JsonView(state)
        elif isinstance(self.console, NotebookConsole):
            with NotebookView(state, self.console) as notebook:
                yield notebook
        elif self.console.is_terminal:
            with LiveView(state, self.console) as live:
                yield live
        else:
            yield progress.PlainView(state, self.console)


def check_system() -> None:
    """Check that trials can be trained on this operating system.

    Raises:
        InputError: They cannot.
    """
    if sys.platform == "win32":
        raise InputError(
            "trials cannot be trained on Windows: locks and signals of Linux and macOS are used",
            fix="Use WSL 2 (wsl --install), and install sasrecf-tune there.",
        )


def check_settings(settings: RunSettings, space: SearchSpace) -> Config:
    """Make every check that needs no data, and return the base configuration.

    Raises:
        InputError: A value, a name or a combination is invalid, or the operating system is not supported.
    """
    check_system()
    if settings.storage is not None:
        from sasrecf_tune.storage.database.address import check_address

        check_address(settings.storage)
    check_space(space, check_model(settings.model))
    return base_config(settings, space)


@dataclass(frozen=True)
class CheckedInputs:
    """What a search starts with.

    Attributes:
        settings: With the columns to load, where they follow from the other settings.
        base: The configuration that all trials share.
        notes: About the data and how it is read.
    """

    settings: RunSettings
    base: Config
    item_columns: tuple[str, ...]
    notes: tuple[str, ...]


def check_inputs(settings: RunSettings, space: SearchSpace) -> CheckedInputs:
    """Make every check of the settings, the space and the data that needs no RecBole.

    Raises:
        InputError: A value, a name, a combination or a file cannot be used.
    """
    from sasrecf_tune.inputs.dataset_check import check_dataset

    base = check_settings(settings, space)
    first = first_configuration(space, base)
    if settings.search.per_user:
        check_per_user(complete_config(first)["metrics"])
    features = feature_lists(space) or [features_of(settings.model, complete_config(first))]
    found = check_dataset(first, features, _shortest_length(space, first), "data_path" in base)
    if found.load_col is not None:
        settings = replace(settings, base=settings.base | {"load_col": found.load_col})
        base |= {"load_col": found.load_col}
    return CheckedInputs(settings, base, found.item_columns, found.notes)


def _shortest_length(space: SearchSpace, config: Config) -> int:
    """The smallest MAX_ITEM_LIST_LENGTH of any trial."""
    name = "MAX_ITEM_LIST_LENGTH"
    if name not in space.names:
        return int(complete_config(config)[name])
    parameter = space[name]
    values = parameter.bounds if parameter.size is None else parameter.values
    return min(int(value) for value in values if is_number(value))


@contextlib.contextmanager
def open_session(
    settings: RunSettings, study_dir: StudyDirectory, allocation: Allocation, fresh: bool = False
) -> Iterator[Executor]:
    """Lock the study, check its database unless it is to be deleted (`fresh`), and start workers.

    The lock is exclusive, or shared if the study is in a database on a server. Errors of the database in the
    block are raised as `StorageError`.

    Raises:
        StorageError: Another run holds the study, or its database cannot be used.
    """
    from sasrecf_tune.storage.database.errors import check_database, reading_errors
    from sasrecf_tune.storage.database.open import check_storage
    from sasrecf_tune.storage.lock import abandoned, exclusive, shared

    def clean_up() -> None:
        left = [*temporary_files(study_dir.directory), *study_dir.leftovers()]
        remove(abandoned(study_dir, left) if settings.storage else left)

    own = replace(study_dir, coordinator=process_name() if settings.storage else "")
    refuse_links(study_dir.directory, "a run would write there")
    if settings.storage:
        check_not_local(study_dir, settings.storage)
    with shared(study_dir, clean_up) if settings.storage else exclusive(study_dir):
        if settings.storage is None:
            clean_up()  # before this run creates files of its own
        with (
            open_executor(settings, own, allocation) as executor,
            reading_errors(study_dir, settings.storage),
        ):
            if settings.storage is None:
                if not fresh:
                    check_database(study_dir, None)
            else:
                check_storage(study_dir, settings.storage)
            yield executor


def check_not_local(study_dir: StudyDirectory, address: str) -> None:
    """Check that a study on a server has no SQLite database in its directory.

    Raises:
        InputError: It has.
    """
    if study_dir.database.is_file() and not read_manifest(study_dir).get("storage"):
        raise InputError(
            f"the study {study_dir.name!r} is in its directory (SQLite), not in {mask_address(address)}",
            where="--storage",
            fix=f"Remove it, and unset {STORAGE_VARIABLE}; or {ANOTHER_STUDY}",
        )


@contextlib.contextmanager
def open_executor(
    settings: RunSettings, study_dir: StudyDirectory, allocation: Allocation
) -> Iterator[Executor]:
    """Start workers, whose files are in `study_dir`, and stop them when the block ends."""
    if settings.executor == "ray":
        from sasrecf_tune.executors.ray.executor import ray_executor

        with ray_executor(settings, study_dir) as on_cluster:
            yield on_cluster
        return
    with private_directory(study_dir.prepared) as directory:
        executor = LocalExecutor(
            study_dir,
            allocation.workers,
            visible_gpus(settings.gpus),
            settings.search.hang_timeout,
            # A single worker shares its prepared data with nobody.
            shared=directory if allocation.workers > 1 else None,
            threads=allocation.threads,
            slots=settings.fuse,
        )
        with contextlib.closing(executor):
            yield executor


def prepare_data(
    checked: CheckedInputs, space: SearchSpace, executor: Executor, display: Display
) -> DataSummary:
    """Prepare the data in a worker and check it.

    Raises:
        InputError: The configuration or the data cannot be used.
    """
    executor.notify = display.note
    settings = checked.settings
    config = first_configuration(space, checked.base) | {"seed": settings.seed}
    with display.status(f"preparing {settings.dataset}"):
        summary = executor.describe(Describe(config, settings.engine, searched_features(space)))
    return replace(summary, notes=(*checked.notes, *summary.notes))


@contextlib.contextmanager
def open_scratch(settings: RunSettings, allocation: Allocation) -> Iterator[tuple[Executor, StudyDirectory]]:
    """Start workers with a temporary study directory, which is kept if its logs explain an error."""
    scratch = Path(tempfile.mkdtemp(prefix="sasrecf-tune-"))
    study_dir = StudyDirectory(scratch / settings.name)
    try:
        make_directory(study_dir.directory)
        with open_executor(settings, study_dir, allocation) as executor:
            yield executor, study_dir
    except (UnknownReasonError, WorkerError):
        raise
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    shutil.rmtree(scratch, ignore_errors=True)


def choose_fusion(
    plan: Plan, executor: Executor, display: Display, measure: bool = False
) -> tuple[Plan, float]:
    """Decide how many trials a worker trains as one model, and set it in the executor.

    Args:
        measure: Whether to time a number that the user chose; `--fuse auto` is always timed.

    Returns:
        The plan with a note on it, and the speed-up over trials trained one after the other.

    Raises:
        TuneError: As `prepare_data`.
    """
    settings = plan.settings
    if settings.fuse == 1:
        return plan, 1.0
    config = first_configuration(plan.space, plan.base) | {"seed": settings.seed}
    timed = measure or settings.fuse == AUTO_FUSE
    with display.status("timing trials that train as one model") if timed else contextlib.nullcontext():
        fusion = plan_fusion(settings, plan.allocation.workers, config, executor, measure)
    return replace(plan, notes=(*plan.notes, fusion.text)), fusion.speedup
