"""`sasrecf-tune compare`: a table of two or more studies."""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sasrecf_tune.analysis.comparability import EvaluationSetup, incompatibilities
from sasrecf_tune.analysis.comparison import Comparison, Effort, Entry, compare
from sasrecf_tune.analysis.confirmation import rank_confirmed, test_scores, validation_scores
from sasrecf_tune.analysis.report_data import Results
from sasrecf_tune.analysis.user_scores import read_user_scores
from sasrecf_tune.errors import InputError, no_completed_trial
from sasrecf_tune.inputs.hyperparameters import features_of
from sasrecf_tune.inputs.metrics import Metric
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.report.comparison_text import show_comparison, warnings
from sasrecf_tune.report.formats.best_yaml import winner_config
from sasrecf_tune.report.formats.comparison import FORMATS
from sasrecf_tune.report.terminal.console import make_console, write_output
from sasrecf_tune.report.terminal.tables import varied
from sasrecf_tune.search.read_results import read_results
from sasrecf_tune.storage.directory import StudyDirectory, find_study, relative
from sasrecf_tune.storage.manifest import read_manifest, settings_from
from sasrecf_tune.storage.manifest_schema import Planned
from sasrecf_tune.storage.recorded_addresses import database_address
from sasrecf_tune.trials import ENDED, LISTED, State, TrialRecord


def compare_studies(
    studies: Sequence[str], out: Path, storage: str | None, form: str, output: Path | None
) -> None:
    """Print or write the comparison of studies.

    Args:
        studies: Names below `out`, or directories.
        out: The directory of studies.
        storage: The database of the studies that are on a server.
        form: "table" or a key of `FORMATS`.
        output: The file to write to, None for the screen.

    Raises:
        InputError: There are fewer than two studies, one does not exist, or they are not comparable.
        TuneError: A study cannot be read.
    """
    found = read_comparison(studies, out, storage)
    if form == "csv":  # the other formats contain the warnings
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
    """Compare studies; the arguments are those of `compare_studies`.

    Raises:
        InputError: There are fewer than two studies, or they are not comparable.
        StorageError: A study cannot be read.
    """
    found = [find_study(out, name) for name in studies]
    counted = Counter(study_dir.directory.resolve() for study_dir in found)
    if twice := [relative(directory) for directory, count in counted.items() if count > 1]:
        raise InputError(f"given twice: {', '.join(twice)}", where="STUDY")
    if len(found) < 2:
        raise InputError("`compare` requires at least two studies", where="STUDY")
    settings = [settings_from(study_dir)[0] for study_dir in found]
    if not any(each.storage for each in settings):
        database_address(settings[0], storage)  # refuses an address that is of no use
    read = [
        _read(study_dir, name, storage if each.storage else None)
        for study_dir, name, each in zip(found, _names(found), settings, strict=True)
    ]
    measured = [how for how, _, _ in read]
    if lines := incompatibilities(measured):
        raise InputError(
            "\n  ".join(["these studies are not comparable:", *lines]),
            fix=_fix(measured),
        )
    data = measured[0].data
    keys = [key for key in data["metric_keys"] if all(key in how.data["metric_keys"] for how in measured)]
    metric = min((metric for _, _, metric in read), key=lambda metric: metric.decimals)
    counts = ", ".join(f"{data[what]:,} {what}" for what in ("users", "items", "interactions"))
    return compare(
        [entry for _, entry, _ in read],
        f"{measured[0].dataset}: {counts}",
        metric,
        keys,
        metric.unit,
    )


def _fix(measured: Sequence[EvaluationSetup]) -> str:
    if len({how.data.get("items") for how in measured}) > 1:
        return (
            "If RecBole reads the .item file, it ranks all items in it and drops all others. Run the studies "
            "with the same filters, and SASRec with "
            '--set "load_col={inter: [user_id, item_id, timestamp], item: [item_id]}".'
        )
    return "Run them with the same data, filters, split, load_col and --metric."


def _names(studies: Sequence[StudyDirectory]) -> list[str]:
    """Return the names of the studies; the directories of those with the same name."""
    counted = Counter(study_dir.name for study_dir in studies)
    return [
        study_dir.name if counted[study_dir.name] == 1 else relative(study_dir.directory)
        for study_dir in studies
    ]


def _read(study_dir: StudyDirectory, name: str, storage: str | None) -> tuple[EvaluationSetup, Entry, Metric]:
    """Return how a study was measured, its results, and the metric that it was selected by."""
    settings, space = settings_from(study_dir)
    manifest = read_manifest(study_dir, Planned)
    results = read_results(study_dir, settings, space, database_address(settings, storage))
    chosen = results.winner
    if chosen is None:
        raise no_completed_trial(name)
    config = winner_config(chosen, settings, space)
    ended = [record for record in results.records if record.state in ENDED]
    over = results.summary is not None and results.summary.is_over(settings.search.until)
    how = EvaluationSetup(name, str(settings.metric), settings.dataset, manifest["data"], config)
    entry = Entry(
        name=name,
        model=settings.model,
        features=features_of(settings.model, config),
        trial=chosen.trial,
        params={key: chosen.record.params[key] for key in varied(space) if key in chosen.record.params},
        weights=chosen.record.weights,
        search=_effort([record for record in results.records if not record.imported]),
        paused=sum(record.state == State.PAUSED for record in results.records),
        pruned=sum(record.state == State.PRUNED for record in ended),
        failed=sum(record.state == State.FAILED for record in ended),
        planned=int(manifest.get("planned_trials") or 0),
        confirmation=_effort(results.runs),
        score=chosen.record.score,
        users=read_user_scores(study_dir, settings, chosen, results.tests),
        imported=sum(bool(record.imported) for record in ended),
        over=over,
    )
    if chosen.confirmation is None:
        return how, replace(entry, unconfirmed=why_unconfirmed(results, study_dir, settings)), settings.metric
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
    return how, confirmed, settings.metric


def _effort(records: Sequence[TrialRecord]) -> Effort:
    return Effort(
        sum(record.state in LISTED for record in records),
        sum(record.epochs for record in records),
        sum(record.seconds for record in records),
    )


def why_unconfirmed(results: Results, study_dir: StudyDirectory, settings: RunSettings) -> str:
    """Explain why the best trial of a study is not confirmed, with the command that confirms it."""
    command = f"sasrecf-tune confirm {study_dir.arguments}"
    whole = results.complete_confirmation
    if whole is not None and not rank_confirmed(whole, settings.metric.maximize, settings.unit).seeds:
        more = 2 * len(whole.seeds)
        return f"its confirmation has no seed on which all runs completed: {command} --seeds {more}"
    if results.latest_confirmation is not None and not results.latest_confirmation.complete:
        why = "its confirmation is incomplete"
    elif results.complete_confirmation is not None:
        why = "its search has found a better trial since its confirmation"
    else:
        why = "it is not confirmed"
    return f"{why}: {command}"
