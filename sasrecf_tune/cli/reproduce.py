"""`sasrecf-tune reproduce`: train the configuration of best.yaml again, and compare the metrics."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sasrecf_tune import __version__
from sasrecf_tune.analysis.report_data import Origin
from sasrecf_tune.analysis.reproduction import MetricPair, compare, environment_changes
from sasrecf_tune.analysis.winner import Winner
from sasrecf_tune.cli.session import Display
from sasrecf_tune.cli.winner_training import imported_text, read_winner, train_winner, winner_name
from sasrecf_tune.report.formats.best_yaml import winner_config
from sasrecf_tune.report.terminal.console import print_table
from sasrecf_tune.storage.directory import StudyDirectory, relative
from sasrecf_tune.storage.files import refuse_links
from sasrecf_tune.storage.manifest import environment, read_manifest
from sasrecf_tune.storage.manifest_schema import Planned
from sasrecf_tune.storage.per_user_files import copy_per_user


def reproduce_study(
    study_dir: StudyDirectory,
    console: Console,
    *,
    storage: str | None = None,
    data_path: Path | None = None,
    gpus: tuple[str, ...] | None = None,
    per_user: bool = False,
    as_json: bool = False,
) -> int:
    """Train the winner again and print the comparison; the study's results are not changed.

    Args:
        per_user: Whether the metrics of each user are written to the study directory, if all are identical.
        storage, data_path, gpus: As in `read_winner`.

    Returns:
        The exit code: 0 if all metrics are identical, else 1.

    Raises:
        StudyNotFoundError: No trial has completed.
        DataError: The data set is missing, or is another one.
        TuneError: The training failed.
    """
    found = read_winner(study_dir, storage, data_path, gpus)
    winner, origin, settings, space = found.winner, found.origin, found.settings, found.space
    manifest = read_manifest(study_dir, Planned)
    display = Display(console, as_json)
    if found.results.renamed:
        display.note(found.results.renamed)
    config = winner_config(winner, settings, space)
    display.line(f"training again: {winner_name(winner)}, seed {config['seed']}")
    if imported := imported_text(winner):
        display.line(imported)
    kind = study_dir.confirmation if winner.confirmation else study_dir
    target = kind.per_user(winner.record.number)
    if per_user:
        refuse_links(study_dir.directory, "the metrics of users would be written there")
    with tempfile.TemporaryDirectory() as scratch:
        written = Path(scratch) / target.name
        again = train_winner(
            winner,
            origin.threads,
            config,
            settings,
            space,
            manifest,
            display,
            per_user=written if per_user else None,
        )
        scores = compare("valid ", origin.valid, again.valid) + compare("test ", origin.test, again.test)
        if winner.record.imported:  # from a file that may not have all of them
            scores = [score for score in scores if score.recorded is not None]
        if per_user and all(score.same for score in scores):
            copied = copy_per_user(written, target)
            display.line(f"metrics of each user: {', '.join(map(relative, copied))}")
        elif per_user:
            display.line("The metrics of users were not written: they belong to other results.", "red")
    record = winner.record
    epochs = compare(
        "",
        {"best epoch": record.best_epoch, "epochs": record.epochs},
        {"best epoch": again.best_epoch, "epochs": again.epochs},
    )
    # An imported trial may have none.
    metrics = scores + [count for count in epochs if count.recorded or not record.imported]
    recorded = _recorded(manifest, winner, origin)
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
        _show(metrics, others, display, imported=bool(record.imported))
    return 0 if same else 1


def _recorded(manifest: Mapping[str, Any], winner: Winner, origin: Origin) -> dict[str, Any]:
    if winner.record.imported:
        return {}
    source = manifest.get("confirmation", manifest) if winner.confirmation else manifest
    kept = {key: source[key] for key in ("sasrecf_tune", "machine", "versions") if key in source}
    # Those of the trial itself, where they are known.
    known = {"device": origin.device, "threads": origin.threads, "fused": origin.fused}
    return kept | {key: value for key, value in known.items() if value}


def _show(
    metrics: Sequence[MetricPair], others: Mapping[str, tuple[Any, Any]], display: Display, imported: bool
) -> None:
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
    if differing and imported:
        display.line("What an imported trial was trained with is not known: versions, machine and device.")
    elif differing and not others:
        display.line("Versions, machine, device and threads are the same.")


def _number(value: float | None) -> str:
    return "-" if value is None else repr(value)
