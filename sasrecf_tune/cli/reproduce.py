"""`sasrecf-tune reproduce`: train again what best.yaml holds, and compare."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sasrecf_tune import __version__
from sasrecf_tune.analysis.report_data import Origin
from sasrecf_tune.analysis.reproduction import MetricPair, compare, environment_changes
from sasrecf_tune.analysis.winner import Winner
from sasrecf_tune.cli.arguments import recbole_data_path
from sasrecf_tune.cli.session import checked_base, describe
from sasrecf_tune.errors import DataError, StudyNotFoundError, WorkerError
from sasrecf_tune.executors.base import Executor
from sasrecf_tune.executors.local import LocalExecutor
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import RunSettings, format_duration
from sasrecf_tune.messages import Config, DataSummary, Decision, Failure, Job, Report, Result
from sasrecf_tune.report.formats.best_yaml import winner_config
from sasrecf_tune.report.terminal.console import print_table
from sasrecf_tune.report.terminal.progress import emit
from sasrecf_tune.search.read_results import read_results
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.files import make_directory
from sasrecf_tune.storage.manifest import environment, read_manifest, settings_from

# How long one wait for the worker may last.
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
    """Print the comparison; returns 0 when all is the same, else 1. The study is not touched.

    Raises:
        DataError: the data set is missing, or is another.
        TuneError: there is nothing to reproduce, or it could not be trained.
    """
    settings, space = settings_from(study_dir)
    results = read_results(study_dir, settings, space, storage)
    if results.winner is None or results.origin is None:
        raise StudyNotFoundError("no trial of this study has completed", where=study_dir.name)
    if data_path is not None:
        base = settings.base | {"data_path": recbole_data_path(data_path, settings.dataset)}
        settings = replace(settings, base=base)
    manifest = read_manifest(study_dir)
    with tempfile.TemporaryDirectory() as scratch:
        work = StudyDirectory(Path(scratch) / study_dir.name)
        make_directory(work.directory)
        executor = LocalExecutor(
            work,
            gpus=settings.gpus if gpus is None else gpus,
            hang_timeout=settings.search.hang_timeout,
            threads=results.origin.threads,
        )
        try:
            base = checked_base(settings, space)
            data = describe(settings, space, base, executor, console, as_json)
            _check_data(data, manifest)
            again = _train(results.winner, settings, space, work, executor, console, as_json)
        finally:
            executor.close()
    metrics = compare("valid ", results.origin.valid, again.valid)
    metrics += compare("test ", results.origin.test, again.test)
    record = results.winner.record
    metrics += compare(
        "",
        {"best epoch": record.best_epoch, "epochs": record.epochs},
        {"best epoch": again.best_epoch, "epochs": again.epochs},
    )
    recorded = _recorded(manifest, results.winner, results.origin)
    now = {"device": again.device, "threads": again.threads, "fused": again.fused}
    others = environment_changes(recorded, now | {"sasrecf_tune": __version__, **environment()})
    same = all(metric.same for metric in metrics)
    if as_json:
        emit({"event": "reproduced", "same": same, "metrics": _listed(metrics), "others": _pairs(others)})
    else:
        _show(metrics, others, console)
    return 0 if same else 1


def _check_data(data: DataSummary, manifest: Mapping[str, Any]) -> None:
    recorded = manifest["data"]["fingerprint"]
    if data.fingerprint != recorded:
        raise DataError(
            f"the data set {data.dataset} is not the one that the study was made from: its files have the "
            f"fingerprint {data.fingerprint}, those had {recorded}",
            fix="--data-path names the directory that holds the right one.",
        )


@dataclass
class _Watch:
    """The handler of the one job."""

    show: Callable[[Report], None]
    outcome: Result | Failure | None = None

    def on_report(self, report: Report) -> Decision:
        """Show the report."""
        self.show(report)
        return Decision.CONTINUE

    def on_outcome(self, outcome: Result | Failure) -> None:
        """Keep the outcome."""
        self.outcome = outcome


def _train(
    chosen: Winner,
    settings: RunSettings,
    space: SearchSpace,
    work: StudyDirectory,
    executor: Executor,
    console: Console,
    quiet: bool,
) -> Result:
    config = winner_config(chosen, settings, space)
    if not quiet:
        console.print(f"training once more: {_named(chosen)}, seed {config['seed']}", highlight=False)
    with _shown(chosen, console, quiet) as show:
        outcome = _outcome(config, chosen, settings, work, executor, show)
    if isinstance(outcome, Failure):
        raise WorkerError(f"{_named(chosen)} completed before, but not now: {outcome.reason}")
    return outcome


def _outcome(
    config: Config,
    chosen: Winner,
    settings: RunSettings,
    work: StudyDirectory,
    executor: Executor,
    show: Callable[[Report], None],
) -> Result | Failure:
    watch = _Watch(show)
    executor.submit(
        Job(
            number=chosen.record.number,
            config=config | {"checkpoint_dir": str(work.checkpoints)},
            engine=settings.engine,
            log=work.log(chosen.record.number),
            checkpoint=work.checkpoint(chosen.record.number),
        )
    )
    while watch.outcome is None:
        executor.step(watch, _TICK_SECONDS)
    return watch.outcome


@contextlib.contextmanager
def _shown(chosen: Winner, console: Console, quiet: bool) -> Iterator[Callable[[Report], None]]:
    """What shows how far it is: one line that changes, or a line an epoch."""

    def text(report: Report) -> str:
        took = format_duration(report.seconds)
        return f"epoch {report.epoch}, {took}; it had {chosen.record.epochs} epochs"

    if quiet:
        yield lambda report: emit({"event": "reported", "epoch": report.epoch, "valid": report.metrics})
    elif console.is_terminal:
        with console.status("training") as status:
            yield lambda report: status.update(text(report))
    else:
        yield lambda report: console.print(text(report), highlight=False)


def _named(chosen: Winner) -> str:
    return f"{'confirmed ' if chosen.confirmation else ''}trial {chosen.trial}"


def _recorded(manifest: Mapping[str, Any], chosen: Winner, origin: Origin) -> dict[str, Any]:
    source = manifest.get("confirmation", manifest) if chosen.confirmation else manifest
    kept = {key: source[key] for key in ("sasrecf_tune", "machine", "versions") if key in source}
    # Of the trial itself, where it is known.
    known = {"device": origin.device, "threads": origin.threads, "fused": origin.fused}
    return kept | {key: value for key, value in known.items() if value}


def _show(metrics: Sequence[MetricPair], others: Mapping[str, tuple[Any, Any]], console: Console) -> None:
    table = Table(pad_edge=False, box=None)
    table.add_column("metric")
    for header in ("recorded", "now", "difference"):
        table.add_column(header, justify="right")
    for metric in metrics:
        difference = "" if metric.same or metric.difference is None else f"{metric.difference:+.6g}"
        style = "" if metric.same else "red"
        table.add_row(metric.name, _number(metric.recorded), _number(metric.now), difference, style=style)
    print_table(console, table)
    if all(metric.same for metric in metrics):
        console.print("The same to the last digit.", style="green", highlight=False)
    else:
        count = sum(not metric.same for metric in metrics)
        console.print(f"{count} of {len(metrics)} numbers differ.", style="red", highlight=False)
    for name, (before, after) in others.items():
        console.print(Text(f"{name}: was {before}, is {after}"), soft_wrap=True)
    if not others and not all(metric.same for metric in metrics):
        console.print("Versions, machine, device and threads are the same.", highlight=False, soft_wrap=True)


def _number(value: float | None) -> str:
    return "-" if value is None else repr(value)


def _listed(metrics: Sequence[MetricPair]) -> list[dict[str, Any]]:
    return [
        {"metric": each.name, "recorded": each.recorded, "now": each.now, "same": each.same}
        for each in metrics
    ]


def _pairs(others: Mapping[str, tuple[Any, Any]]) -> dict[str, dict[str, Any]]:
    return {name: {"recorded": before, "now": after} for name, (before, after) in others.items()}
