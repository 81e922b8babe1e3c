"""Trains the configuration of best.yaml once, outside of a search: for `reproduce` and `fit`."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from typing_extensions import override

from sasrecf_tune.analysis.report_data import Origin, Results
from sasrecf_tune.analysis.winner import Winner
from sasrecf_tune.cli.build_settings import recbole_data_path
from sasrecf_tune.cli.session import Display, check_inputs, prepare_data
from sasrecf_tune.errors import DataError, WorkerError, no_completed_trial
from sasrecf_tune.executors.base import Executor, Handler
from sasrecf_tune.executors.local import LocalExecutor
from sasrecf_tune.executors.visible_gpus import visible_gpus
from sasrecf_tune.inputs.durations import format_duration
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.messages import Config, DataSummary, Decision, Deployment, Failure, Job, Report, Result
from sasrecf_tune.search.read_results import read_results
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.files import make_directory
from sasrecf_tune.storage.manifest import settings_from
from sasrecf_tune.storage.recorded_addresses import database_address

# The duration of one wait for the worker.
_TICK_SECONDS = 0.25


@dataclass(frozen=True)
class StudyWinner:
    """The configuration that a study chose, with what training it again needs.

    Attributes:
        settings: Those of the study, with another place of the data and other devices if these were given.
        origin: What the winner was trained on.
    """

    settings: RunSettings
    space: SearchSpace
    results: Results
    winner: Winner
    origin: Origin


def read_winner(
    study_dir: StudyDirectory,
    storage: str | None,
    data_path: Path | None,
    gpus: tuple[str, ...] | None,
    dataset: str | None = None,
) -> StudyWinner:
    """Read the winner of a study.

    Args:
        storage: The address of the study's database, if it is on a server.
        data_path: The directory of the data set; None for that of the study.
        gpus: As `parse_gpus` returns them; None for those of the study.
        dataset: The name of another data set; None for that of the study.

    Raises:
        StudyNotFoundError: No trial has completed.
    """
    settings, space = settings_from(study_dir)
    results = read_results(study_dir, settings, space, database_address(settings, storage))
    if results.winner is None or results.origin is None:
        raise no_completed_trial(study_dir.name)
    if dataset is not None:
        settings = replace(settings, dataset=dataset)
    if data_path is not None:
        base = settings.base | {"data_path": recbole_data_path(data_path, settings.dataset)}
        settings = replace(settings, base=base)
    if gpus is not None:
        settings = replace(settings, gpus=gpus)
    return StudyWinner(settings, space, results, results.winner, results.origin)


def train_winner(
    winner: Winner,
    threads: int,
    config: Config,
    settings: RunSettings,
    space: SearchSpace,
    manifest: Mapping[str, Any],
    display: Display,
    *,
    epochs: int | None = None,
    deployment: Callable[[DataSummary], Deployment] | None = None,
    per_user: Path | None = None,
) -> Result:
    """Train `config` in a worker with a temporary directory.

    Args:
        threads: Those of the worker, 0 for torch's choice.
        epochs: The number of epochs to show; None for that of the winner.
        deployment: How the model is trained and written, if it is for use; it checks the data.
        per_user: Where the metrics of each user are written; None for nowhere.

    Raises:
        DataError: The data set is missing, or is another one than the study's.
        TuneError: The training failed.
    """
    search = replace(settings.search, per_user=per_user is not None)
    checked = check_inputs(replace(settings, search=search), space)
    with tempfile.TemporaryDirectory() as scratch:
        work = StudyDirectory(Path(scratch) / settings.name)
        make_directory(work.directory)
        executor = LocalExecutor(
            work,
            gpus=visible_gpus(settings.gpus),
            hang_timeout=settings.search.hang_timeout,
            threads=threads,
        )
        with contextlib.closing(executor):
            data = prepare_data(checked, space, executor, display)
            if deployment is None:
                check_same_data(data, manifest)
            number = winner.record.number
            job = Job(
                number=number,
                config=config | {"checkpoint_dir": str(work.checkpoints)},
                engine=settings.engine,
                log=work.log(number),
                checkpoint=work.checkpoint(number),
                deployment=None if deployment is None else deployment(data),
                per_user=per_user,
            )
            with _show_epochs(winner.record.epochs if epochs is None else epochs, display) as show:
                outcome = _outcome(job, executor, show)
    if isinstance(outcome, Failure):
        raise WorkerError(f"{winner_name(winner)} failed this time: {outcome.reason}")
    return outcome


def winner_name(winner: Winner) -> str:
    """Return "trial 3", or "confirmed trial 3"."""
    return f"{'confirmed ' if winner.confirmation else ''}trial {winner.trial}"


def imported_text(winner: Winner) -> str:
    """What to say before an imported winner is trained; "" if it is none."""
    record = winner.record
    if not record.imported:
        return ""
    seed = "" if record.seed is not None else ", and its seed was not recorded"
    return f"It was imported from {record.imported}: it has not been trained in this study{seed}."


def check_same_data(data: DataSummary, manifest: Mapping[str, Any], more: str = "") -> None:
    """Check that the data set is that of the study.

    Args:
        more: What else can be done about it.

    Raises:
        DataError: It is another one.
    """
    recorded = manifest["data"]["fingerprint"]
    if data.fingerprint != recorded:
        raise DataError(
            f"the data set {data.dataset} differs from that of the study: the fingerprint of its files is "
            f"{data.fingerprint}, not {recorded}",
            fix=f"Use --data-path with the directory of the right one.{more}",
        )


@dataclass
class _Handler(Handler):
    show: Callable[[Report], None]
    outcome: Result | Failure | None = None

    @override
    def on_report(self, report: Report) -> Decision:
        self.show(report)
        return Decision.CONTINUE

    @override
    def on_outcome(self, outcome: Result | Failure) -> None:
        self.outcome = outcome


def _outcome(job: Job, executor: Executor, show: Callable[[Report], None]) -> Result | Failure:
    handler = _Handler(show)
    executor.submit(job)
    while handler.outcome is None:
        executor.step(handler, _TICK_SECONDS)
    return handler.outcome


@contextlib.contextmanager
def _show_epochs(epochs: int, display: Display) -> Iterator[Callable[[Report], None]]:
    """Yield a function that shows an epoch: on a terminal as one line that changes."""

    def text(report: Report) -> str:
        return f"epoch {report.epoch} of {epochs}, {format_duration(report.seconds)}"

    if display.as_json:
        yield lambda report: display.emit("reported", epoch=report.epoch, valid=report.metrics)
    elif display.console.is_terminal:
        with display.console.status("training") as status:
            yield lambda report: status.update(text(report))
    else:
        yield lambda report: display.line(text(report))
