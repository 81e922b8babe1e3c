"""The commands `report`, `best` and `studies`."""

from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from sasrecf_tune.analysis.report_data import Results
from sasrecf_tune.errors import InputError, StorageError, no_completed_trial
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.report.formats.trials import trials_ended
from sasrecf_tune.report.terminal.console import make_console, print_table, write_output
from sasrecf_tune.report.text import json_text, timestamp_text
from sasrecf_tune.search.read_results import read_results
from sasrecf_tune.storage.directory import StudyDirectory, find_study, relative
from sasrecf_tune.storage.directory import studies as all_studies
from sasrecf_tune.storage.manifest import read_manifest, settings_from
from sasrecf_tune.storage.recorded_addresses import database_address
from sasrecf_tune.trials import Row

if TYPE_CHECKING:
    from sasrecf_tune.analysis.report_data import ReportData


def report_study(
    out: Path,
    name: str | None,
    storage: str | None,
    top: int,
    form: str,
    output: Path | None,
    show_test: bool = False,
    filters: Sequence[str] = (),
    order: str | None = None,
) -> None:
    """Print or write the results of a study and of its confirmation.

    Raises:
        InputError: A filter or an order is invalid, or `form` does not support an option.
        TuneError: The study does not exist or cannot be read.
    """
    from sasrecf_tune.analysis.report_data import report_data_of
    from sasrecf_tune.report.row_selection import pick
    from sasrecf_tune.report.study_sections import SELECTING_ON_TEST

    if form == "html" and (filters or order):
        raise InputError(
            "`--format html` does not support `--filter` and `--sort`",
            fix="Remove them: the page has both.",
        )
    if show_test and form in ("latex", "html"):
        raise InputError(
            f"`--format {form}` does not support `--show-test`",
            fix="Use --format table, csv, json or markdown. All formats have the confirmed test metrics.",
        )
    study_dir = find_study(out, name)
    settings, space = settings_from(study_dir)
    results = read_results(study_dir, settings, space, database_address(settings, storage))
    data = report_data_of(study_dir, settings, space, results)
    tests = results.tests if show_test else None
    for note in filter(None, (results.renamed, SELECTING_ON_TEST if show_test else "")):
        make_console(sys.stderr).print(note, style="yellow", soft_wrap=True, highlight=False, markup=False)
    if form == "html":
        _page(study_dir, data, output)
        return
    rows = pick(data.rows, space.names, filters, order)
    shown = rows[:top] if top else rows
    if form == "table":
        _table(study_dir, data, rows, shown, output, results, tests)
    else:
        write_output(_text(study_dir, data, settings, space, shown, form, tests), output)


def _text(
    study_dir: StudyDirectory,
    data: ReportData,
    settings: RunSettings,
    space: SearchSpace,
    shown: Sequence[Row],
    form: str,
    tests: Mapping[int, Mapping[str, float]] | None,
) -> str:
    from sasrecf_tune.report.bounds_text import bounds_content
    from sasrecf_tune.report.choice_text import choice_text, summary_content
    from sasrecf_tune.report.formats.latex import confirmed_latex, ranking_latex
    from sasrecf_tune.report.formats.trials import ranking_csv, ranking_json, ranking_markdown
    from sasrecf_tune.report.study_sections import confirmed_content, confirmed_markdown, test_markdown
    from sasrecf_tune.report.user_scores_text import users_content, users_markdown

    metric = settings.metric
    metric_keys = tuple(data.manifest["data"]["metric_keys"])
    if form == "csv":
        return ranking_csv(shown, space.names, metric_keys, tests)
    if form == "markdown":
        text = ranking_markdown(shown, space.names, metric, choice_text(data.rows, metric))
        return (
            text
            + test_markdown(shown, tests, metric_keys, metric)
            + confirmed_markdown(data)
            + users_markdown(data)
        )
    if form == "latex":
        if not data.completed:
            raise no_completed_trial(study_dir.name)
        what = settings.model, settings.dataset
        text = ranking_latex(shown, data.varied, metric_keys, metric, study_dir.name, *what)
        if data.confirmed_ranking is not None:
            text += "\n" + confirmed_latex(*data.confirmed_ranking, data.varied, metric, *what)
        return text
    summary = {"study": study_dir.name, "metric": str(metric), "ended": len(data.rows)}
    summary |= bounds_content(data.at_bounds) | summary_content(data.summary, data.rows, metric)
    return ranking_json(shown, summary | confirmed_content(data) | users_content(data), tests)


def _table(
    study_dir: StudyDirectory,
    data: ReportData,
    rows: Sequence[Row],
    shown: Sequence[Row],
    output: Path | None,
    results: Results,
    tests: Mapping[int, Mapping[str, float]] | None,
) -> None:
    from sasrecf_tune.report.study_sections import show_confirmed, show_tests
    from sasrecf_tune.report.terminal.ranking import show_report
    from sasrecf_tune.report.user_scores_text import show_users

    def render(console: Console) -> None:
        show_report(data, rows, shown, console)
        if tests is not None:
            show_tests(shown, tests, data.metric, console)
        show_confirmed(data, results, study_dir, console)
        show_users(data, console)

    if output is None:
        render(make_console())
        return
    text = io.StringIO()
    render(make_console(text))
    write_output(text.getvalue(), output)


def _page(study_dir: StudyDirectory, data: ReportData, output: Path | None) -> None:
    from sasrecf_tune.report.page.render import render_page

    path = study_dir.report if output is None else output.absolute()
    write_output(render_page(data), path, own=output is None)
    make_console().print(str(path), highlight=False, markup=False, soft_wrap=True)


def export_users(out: Path, name: str | None, storage: str | None, output: Path) -> None:
    """Write the metrics of users of all runs of a study that have them.

    Raises:
        InputError: No run has them, or the name of the file is unusable.
        TuneError: The study does not exist, or a file cannot be read or written.
    """
    from sasrecf_tune.analysis.user_scores import user_tables
    from sasrecf_tune.report.formats.table_files import check_suffix, open_table

    check_suffix(output, (".csv", ".parquet"))
    study_dir = find_study(out, name)
    settings, space = settings_from(study_dir)
    results = read_results(study_dir, settings, space, database_address(settings, storage))
    tables = user_tables(study_dir, results.records, results.confirmation)
    first = next(tables, None)
    if first is None:
        raise InputError(
            "no run of this study has metrics of users",
            where=relative(study_dir.directory),
            fix=f"Write them: sasrecf-tune confirm {study_dir.arguments} --per-user",
        )
    rows = 0
    with open_table(output) as write:
        for table in itertools.chain([first], tables):
            write({str(column): table[column].to_numpy() for column in table})
            rows += len(table)
    make_console().print(f"wrote {output}: {rows:,} rows", highlight=False, markup=False, soft_wrap=True)


def best_config(out: Path, name: str | None, storage: str | None, output: Path | None) -> None:
    """Print or write a RecBole config file of the best trial, or of the confirmed one.

    Raises:
        StudyNotFoundError: The study does not exist, or no trial has completed.
    """
    from sasrecf_tune.report.formats.best_yaml import best_yaml

    study_dir = find_study(out, name)
    settings, space = settings_from(study_dir)
    chosen = read_results(study_dir, settings, space, database_address(settings, storage)).winner
    if chosen is None:
        raise no_completed_trial(study_dir.name)
    write_output(best_yaml(chosen, settings, space), output)


def list_studies(out: Path, as_json: bool) -> None:
    """Print the studies below `out`."""
    rows: list[dict[str, Any]] = []
    for study_dir in all_studies(out):
        try:
            manifest = read_manifest(study_dir)
        except StorageError as error:
            rows.append({"study": study_dir.name, "error": error.what})
            continue
        keys = ("model", "dataset", "metric", "planned_trials")
        known = {"study": study_dir.name, "ended": trials_ended(study_dir.trials)}
        changed = datetime.fromtimestamp(study_dir.changed_at(), UTC).isoformat(timespec="seconds")
        rows.append(known | {key: manifest.get(key) for key in keys} | {"updated": changed})
    if as_json:
        print(json_text(rows))
        return
    console = make_console()
    if not rows:
        console.print(f"no studies in {out}", highlight=False, markup=False)
        return
    table = Table(box=None, pad_edge=False)
    for header in ("study", "model", "dataset", "metric", "trials ended", "updated"):
        # Names are for other commands, and stay whole.
        table.add_column(header, no_wrap=header == "study", overflow="fold")
    for row in rows:
        if "error" in row:
            table.add_row(row["study"], row["error"])
            continue
        ended = "?" if row["ended"] is None else row["ended"]
        updated = timestamp_text(row["updated"])
        planned = row["planned_trials"]
        # More trials than planned have ended if --trials was lowered.
        lowered = isinstance(ended, int) and isinstance(planned, int) and ended > planned
        trials = str(ended) if lowered else f"{ended} of {planned}"
        facts = (str(row[key]) for key in ("study", "model", "dataset", "metric"))
        table.add_row(*facts, trials, updated)
    print_table(console, table)
