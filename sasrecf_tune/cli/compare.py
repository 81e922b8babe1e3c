"""`sasrecf-tune compare`: two studies or more side by side."""

from __future__ import annotations

import io
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sasrecf_tune.analysis.comparability import EvaluationSetup, incompatibilities
from sasrecf_tune.analysis.comparison import Comparison, Effort, Entry, compare
from sasrecf_tune.analysis.confirmation import rank_confirmed, test_scores, validation_scores
from sasrecf_tune.analysis.report_data import Results
from sasrecf_tune.errors import InputError, StudyNotFoundError
from sasrecf_tune.inputs.hyperparameters import features_of
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.report.comparison_text import show_comparison, warnings
from sasrecf_tune.report.formats.best_yaml import winner_config
from sasrecf_tune.report.formats.comparison import FORMATS
from sasrecf_tune.report.terminal.console import make_console, write_output
from sasrecf_tune.report.terminal.tables import varied
from sasrecf_tune.search.read_results import read_results
from sasrecf_tune.storage.directory import StudyDirectory, find_study, out_option, relative
from sasrecf_tune.storage.manifest import read_manifest, settings_from
from sasrecf_tune.trials import ENDED, State, TrialRecord


def compare_studies(
    studies: Sequence[str], out: Path, storage: str | None, form: str, output: Path | None
) -> None:
    """Print or write what the studies, names below `out` or directories, have come to.

    `storage` is the database of those that are in one.

    Raises:
        InputError: fewer than two, one that is not there, or their numbers are not of one kind.
        TuneError: one cannot be read.
    """
    found = read_comparison(studies, out, storage)
    if form == "csv":  # which has no place for them
        for warning in warnings(found):
            make_console(sys.stderr).print(
                f"warning: {warning}", style="yellow", soft_wrap=True, highlight=False
            )
    if form != "table":
        write_output(FORMATS[form](found), output)
    elif output is None:
        show_comparison(found, make_console())
    else:
        text = io.StringIO()
        show_comparison(found, make_console(text))
        write_output(text.getvalue(), output)


def read_comparison(studies: Sequence[str], out: Path, storage: str | None = None) -> Comparison:
    """As `compare_studies`, for programs."""
    layouts = [_find(out, name) for name in studies]
    counted = Counter(study_dir.directory.resolve() for study_dir in layouts)
    if twice := [relative(directory) for directory, count in counted.items() if count > 1]:
        raise InputError(f"given twice: {', '.join(twice)}", where="STUDY")
    if len(layouts) < 2:
        raise InputError("one study has nothing to be compared with", where="STUDY", fix="Name two or more.")
    read = [_read(study_dir, name, storage) for study_dir, name in zip(layouts, _names(layouts), strict=True)]
    measured = [how for how, _, _ in read]
    if lines := incompatibilities(measured):
        raise InputError(
            "\n  ".join(
                ["these studies cannot be compared, since their numbers are not of one kind:", *lines]
            ),
            fix=_fix(measured),
        )
    data = measured[0].data
    keys = [key for key in data["metric_keys"] if all(key in how.data["metric_keys"] for how in measured)]
    counts = ", ".join(f"{data[what]:,} {what}" for what in ("users", "items", "interactions"))
    return compare(
        [entry for _, entry, _ in read],
        f"{measured[0].dataset}: {counts}",
        parse_metric(measured[0].metric),
        keys,
        max(unit for _, _, unit in read),
    )


def _fix(measured: Sequence[EvaluationSetup]) -> str:
    if len({how.data.get("items") for how in measured}) > 1:
        return (
            "RecBole ranks all items of the .item file where it reads that, and drops what is not in it. Run "
            "them with the same filters, and SASRec with "
            '--set "load_col={inter: [user_id, item_id, timestamp], item: [item_id]}".'
        )
    return "Run them on the same data, with the same filters, split, load_col and --metric."


def _find(out: Path, text: str) -> StudyDirectory:
    """The study of a name below `out`, or of a directory."""
    directory = StudyDirectory(Path(text).absolute())
    is_path = os.sep in text or text in (os.curdir, os.pardir)
    if not is_path:
        try:
            return find_study(out, text)
        except StudyNotFoundError:
            if not directory.manifest.is_file():
                raise
    if not directory.manifest.is_file():
        raise StudyNotFoundError(
            "no study's directory",
            where=text,
            fix=f"One holds a {directory.manifest.name}, which `run` writes.",
        )
    # `..` and a slash at the end are no names.
    return StudyDirectory(directory.directory.resolve())


def _names(layouts: Sequence[StudyDirectory]) -> list[str]:
    """The studies' names, or, of two with one name, their directories."""
    counted = Counter(study_dir.name for study_dir in layouts)
    return [
        study_dir.name if counted[study_dir.name] == 1 else relative(study_dir.directory)
        for study_dir in layouts
    ]


def _read(study_dir: StudyDirectory, name: str, storage: str | None) -> tuple[EvaluationSetup, Entry, float]:
    """How a study was measured, what it has come to, and what its scores are rounded to."""
    settings, space = settings_from(study_dir)
    manifest = read_manifest(study_dir)
    results = read_results(study_dir, settings, space, storage)
    chosen = results.winner
    if chosen is None:
        raise StudyNotFoundError("no trial of this study has completed", where=name)
    config = winner_config(chosen, settings, space)
    ended = [record for record in results.records if record.state in ENDED]
    how = EvaluationSetup(name, str(settings.metric), settings.dataset, manifest["data"], config)
    entry = Entry(
        name=name,
        model=settings.model,
        features=features_of(settings.model, config),
        trial=chosen.trial,
        params={key: chosen.record.params[key] for key in varied(space) if key in chosen.record.params},
        weights=chosen.record.weights,
        search=_effort(results.records),
        pruned=sum(record.state == State.PRUNED for record in ended),
        failed=sum(record.state == State.FAILED for record in ended),
        planned=int(manifest.get("planned_trials") or 0),
        confirmation=_effort(results.runs),
        score=chosen.record.score,
    )
    if chosen.confirmation is None:
        return how, replace(entry, unconfirmed=why_unconfirmed(results, study_dir, settings)), settings.unit
    verdict = rank_confirmed(chosen.confirmation, settings.metric.maximize, settings.unit)
    subject = chosen.confirmation, verdict, chosen.trial
    confirmed = replace(
        entry,
        score=None,
        seeds=verdict.seeds,
        rivals=len(verdict.places),
        valid=validation_scores(*subject),
        test=test_scores(*subject),
    )
    return how, confirmed, settings.unit


def _effort(records: Sequence[TrialRecord]) -> Effort:
    return Effort(
        sum(record.state in ENDED for record in records),
        sum(record.epochs for record in records),
        sum(record.seconds for record in records),
    )


def why_unconfirmed(results: Results, study_dir: StudyDirectory, settings: RunSettings) -> str:
    """Why the best of a study is not confirmed, and what to do."""
    command = f"sasrecf-tune confirm {study_dir.name}{out_option(study_dir)}"
    whole = results.complete_confirmation
    if whole is not None and not rank_confirmed(whole, settings.metric.maximize, settings.unit).seeds:
        more = 2 * len(whole.seeds)
        return f"its confirmation has no seed on which all completed: {command} --seeds {more}"
    if results.latest_confirmation is not None and not results.latest_confirmation.complete:
        why = "its confirmation is not done"
    elif results.complete_confirmation is not None:
        why = "its search has gone on since its confirmation and found a better one"
    else:
        why = "it is not confirmed"
    return f"{why}: {command}"
