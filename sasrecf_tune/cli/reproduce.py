"""`sasrecf-tune reproduce`: train the configuration of best.yaml again, and compare the metrics."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from typing_extensions import override

from sasrecf_tune import __version__
from sasrecf_tune.analysis.report_data import Origin
from sasrecf_tune.analysis.reproduction import MetricPair, compare, environment_changes
from sasrecf_tune.analysis.winner import Winner
from sasrecf_tune.cli.build_settings import recbole_data_path
from sasrecf_tune.cli.session import Display, check_inputs, prepare_data
from sasrecf_tune.errors import DataError, WorkerError, no_completed_trial
from sasrecf_tune.executors.base import Executor, Handler
from sasrecf_tune.executors.local import LocalExecutor
from sasrecf_tune.executors.visible_gpus import visible_gpus
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import RunSettings, format_duration
from sasrecf_tune.messages import DataSummary, Decision, Failure, Job, Report, Result
from sasrecf_tune.report.formats.best_yaml import winner_config
from sasrecf_tune.report.terminal.console import print_table
from sasrecf_tune.search.read_results import read_results
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.files import make_directory
from sasrecf_tune.storage.manifest import environment, read_manifest, settings_from
from sasrecf_tune.storage.manifest_schema import Planned
from sasrecf_tune.storage.recorded_addresses import database_address

# The duration of one wait for the worker.
_TICK_SECONDS = 0.25


def reproduce_study(
    study_dir: StudyDirectory,
    console: Console,
    *,
    storage: str | None = None,
    data_path: Path | None = None,
    gpus: tuple[str, ...] | None = None,
    as_json: bool = False,
) -> int:
    """Train the winner again and print the comparison; the study is not changed.

    Args:
        storage: The address of the study's database, if it is on a server.
        data_path: The directory of the data set; None for that of the study.
        gpus: As `parse_gpus` returns them; None for those of the study.

    Returns:
        The exit code: 0 if all metrics are identical, else 1.

    Raises:
        StudyNotFoundError: No trial has completed.
        DataError: The data set is missing, or is another one.
        TuneError: The training failed.
    """
    settings, space = settings_from(study_dir)
    results = read_results(study_dir, settings, space, database_address(settings, storage))
    if results.winner is None or results.origin is None:
        raise no_completed_trial(study_dir.name)
    if data_path is not None:
        base = settings.base | {"data_path": recbole_data_path(data_path, settings.dataset)}
        settings = replace(settings, base=base)
    if gpus is not None:
        settings = replace(settings, gpus=gpus)
    manifest = read_manifest(study_dir, Planned)
    display = Display(console, as_json)
    again = _train(results.winner, results.origin, settings, space, manifest, display)
    record = results.winner.record
    metrics = compare("valid ", results.origin.valid, again.valid)
    metrics += compare("test ", results.origin.test, again.test)
    metrics += compare(
        "",
        {"best epoch": record.best_epoch, "epochs": record.epochs},
        {"best epoch": again.best_epoch, "epochs": again.epochs},
    )
    recorded = _recorded(manifest, results.winner, results.origin)
    now = {"device": again.device, "threads": again.threads, "fused": again.fused}
    others = environment_changes(recorded, now | {"sasrecf_tune": __version__, **environment()})
    same = all(metric.same for metric in metrics)
    display.emit(
        "reproduced",
        same=same,
        metrics=[
            {"metric": each.name, "recorded": each.recorded, "now": each.now, "same": each.same}
            for each in metrics
        ],
        others={name: {"recorded": before, "now": after} for name, (before, after) in others.items()},
    )
    if not as_json:
        _show(metrics, others, display)
    return 0 if same else 1


def _train(
    winner: Winner,
    origin: Origin,
    settings: RunSettings,
    space: SearchSpace,
    manifest: Mapping[str, Any],
    display: Display,
) -> Result:
    """Train the winner again in a temporary directory."""
    checked = check_inputs(settings, space)
    with tempfile.TemporaryDirectory() as scratch:
        work = StudyDirectory(Path(scratch) / settings.name)
        make_directory(work.directory)
        executor = LocalExecutor(
            work,
            gpus=visible_gpus(settings.gpus),
            hang_timeout=settings.search.hang_timeout,
            threads=origin.threads,
        )
        with contextlib.closing(executor):
            _check_data(prepare_data(checked, space, executor, display), manifest)
            config = winner_config(winner, settings, space)
            display.line(f"training again: {_named(winner)}, seed {config['seed']}")
            number = winner.record.number
            job = Job(
                number=number,
                config=config | {"checkpoint_dir": str(work.checkpoints)},
                engine=settings.engine,
                log=work.log(number),
                checkpoint=work.checkpoint(number),
            )
            with _show_epochs(winner, display) as show:
                outcome = _outcome(job, executor, show)
    if isinstance(outcome, Failure):
        raise WorkerError(f"{_named(winner)} failed this time: {outcome.reason}")
    return outcome


def _check_data(data: DataSummary, manifest: Mapping[str, Any]) -> None:
    recorded = manifest["data"]["fingerprint"]
    if data.fingerprint != recorded:
        raise DataError(
            f"the data set {data.dataset} differs from that of the study: the fingerprint of its files is "
            f"{data.fingerprint}, not {recorded}",
            fix="Use --data-path with the directory of the right one.",
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
def _show_epochs(winner: Winner, display: Display) -> Iterator[Callable[[Report], None]]:
    """Yield a function that shows an epoch: on a terminal as one line that changes."""

    def text(report: Report) -> str:
        return f"epoch {report.epoch} of {winner.record.epochs}, {format_duration(report.seconds)}"

    if display.as_json:
        yield lambda report: display.emit("reported", epoch=report.epoch, valid=report.metrics)
    elif display.console.is_terminal:
        with display.console.status("training") as status:
            yield lambda report: status.update(text(report))
    else:
        yield lambda report: display.line(text(report))


def _named(winner: Winner) -> str:
    return f"{'confirmed ' if winner.confirmation else ''}trial {winner.trial}"


def _recorded(manifest: Mapping[str, Any], winner: Winner, origin: Origin) -> dict[str, Any]:
    source = manifest.get("confirmation", manifest) if winner.confirmation else manifest
    kept = {key: source[key] for key in ("sasrecf_tune", "machine", "versions") if key in source}
    # Those of the trial itself, where they are known.
    known = {"device": origin.device, "threads": origin.threads, "fused": origin.fused}
    return kept | {key: value for key, value in known.items() if value}


def _show(metrics: Sequence[MetricPair], others: Mapping[str, tuple[Any, Any]], display: Display) -> None:
    table = Table(pad_edge=False, box=None)
    table.add_column("metric")
    for header in ("recorded", "now", "difference"):
        table.add_column(header, justify="right")
    for metric in metrics:
        difference = "" if metric.same or metric.difference is None else f"{metric.difference:+.6g}"
        style = "" if metric.same else "red"
        table.add_row(metric.name, _number(metric.recorded), _number(metric.now), difference, style=style)
    print_table(display.console, table)
    differing = sum(not metric.same for metric in metrics)
    if differing:
        display.line(
            f"{differing} of {len(metrics)} numbers {'differs' if differing == 1 else 'differ'}.", "red"
        )
    else:
        display.line("All metrics are identical.", "green")
    for name, (before, after) in others.items():
        display.line(f"{name}: was {before}, is {after}")
    if differing and "device" in others:
        display.line("Dropout draws other random numbers on another kind of device.")
    if differing and not others:
        display.line("Versions, machine, device and threads are the same.")


def _number(value: float | None) -> str:
    return "-" if value is None else repr(value)
