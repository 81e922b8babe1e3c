"""What the commands other than the search itself do."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from sasrecf_tune.analysis.report_data import Results
from sasrecf_tune.cli.arguments import base_settings, read_space
from sasrecf_tune.errors import InputError, StorageError, StudyNotFoundError
from sasrecf_tune.inputs.constraints import feasibility
from sasrecf_tune.inputs.dataset_files import check_columns, locate
from sasrecf_tune.inputs.hyperparameters import SASRECF, TABLE, features_of
from sasrecf_tune.inputs.recbole_keys import without_effect
from sasrecf_tune.inputs.validation import check_model
from sasrecf_tune.report.formats.trials import trials_ended
from sasrecf_tune.report.terminal.console import make_console, print_table, write_output
from sasrecf_tune.report.text import timestamp_text
from sasrecf_tune.search.read_results import read_results
from sasrecf_tune.storage.directory import StudyDirectory, find_study
from sasrecf_tune.storage.directory import studies as all_studies
from sasrecf_tune.storage.manifest import read_manifest, settings_from
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
    """Print or write the results of a study, and what its confirmation says.

    Raises:
        InputError: a filter or an order that there is not.
        TuneError: there is no such study, or it cannot be read.
    """
    from sasrecf_tune.analysis.report_data import report_data_of
    from sasrecf_tune.report.formats.latex import confirmed_latex, ranking_latex
    from sasrecf_tune.report.formats.trials import ranking_csv, ranking_json, ranking_markdown
    from sasrecf_tune.report.row_selection import pick
    from sasrecf_tune.report.study_sections import (
        SELECTING_ON_TEST,
        confirmed_content,
        confirmed_markdown,
        test_markdown,
    )

    if form == "html" and (filters or order):
        raise InputError(
            "the page holds all trials",
            where="--format html",
            fix="Leave out --filter and --sort: the page has both.",
        )
    if show_test and form in ("latex", "html"):
        raise InputError(
            "test metrics of the search's trials are in no table for a paper and on no page",
            where="--show-test",
            fix="Use --format table, csv, json or markdown; confirmed ones are in all of them.",
        )
    study_dir = find_study(out, name)
    settings, space = settings_from(study_dir)
    results = read_results(study_dir, settings, space, storage)
    material = report_data_of(study_dir, settings, space, results)
    tests = results.tests if show_test else None
    if show_test:
        make_console(sys.stderr).print(SELECTING_ON_TEST, style="yellow", soft_wrap=True, highlight=False)
    if form == "html":
        _report_page(study_dir, material, output)
        return
    rows = pick(material.rows, space.names, filters, order)
    shown = rows[:top] if top else rows
    metric = str(settings.metric)
    metric_keys = tuple(material.manifest["data"]["metric_keys"])
    if form == "table":
        _report_table(study_dir, material, rows, shown, output, results, tests)
        return
    if form == "csv":
        text = ranking_csv(shown, space.names, metric_keys, tests)
    elif form == "markdown":
        text = ranking_markdown(shown, space.names, metric)
        text += test_markdown(shown, tests, metric_keys) + confirmed_markdown(material)
    elif form == "latex":
        if not material.completed:
            raise StudyNotFoundError("no trial of this study has completed", where=study_dir.name)
        what = settings.model, settings.dataset
        text = ranking_latex(shown, material.varied, metric_keys, metric, study_dir.name, *what)
        if material.confirmed_ranking is not None:
            text += "\n" + confirmed_latex(*material.confirmed_ranking, material.varied, metric, *what)
    else:
        summary = {"study": study_dir.name, "metric": metric, "ended": len(material.rows)}
        text = ranking_json(shown, summary | confirmed_content(material), tests)
    write_output(text, output)


def best_config(out: Path, name: str | None, storage: str | None, output: Path | None) -> None:
    """Print or write a RecBole config file of the best trial, or of the confirmed one.

    Raises:
        StudyNotFoundError: no trial has completed, or there is no such study.
    """
    from sasrecf_tune.report.formats.best_yaml import best_yaml

    study_dir = find_study(out, name)
    settings, space = settings_from(study_dir)
    chosen = read_results(study_dir, settings, space, storage).winner
    if chosen is None:
        raise StudyNotFoundError("no trial of this study has completed", where=study_dir.name)
    write_output(best_yaml(chosen, settings, space), output)


def check_file(
    file: Path,
    dataset: str,
    data_path: Path | None,
    config_files: str,
    overrides: Sequence[str],
    model: str | None,
    syntax_only: bool,
    as_json: bool,
) -> None:
    """Say what a params file holds.

    Raises:
        InputError: what is wrong with it.
        InputErrors: several mistakes.
    """
    from sasrecf_tune.search.plan import searched_features

    chosen, base = check_model(model or SASRECF), dict[str, Any]()
    if syntax_only:
        space = read_space(file, "", (), model)
    else:
        space = read_space(file, config_files, overrides, model)
        chosen, base = base_settings(space, data_path, dataset, config_files, overrides, model)
    counted = feasibility(space, base)
    notes = [*space.notes, *without_effect(base)]
    facts: dict[str, Any] = {
        "file": str(file),
        "model": chosen,
        "parameters": len(space),
        "configurations": counted.total,
        "possible": counted.feasible,
        "fingerprint": space.fingerprint,
        "impossible": [{"why": reason, "configurations": count} for reason, count in counted.reasons],
        "notes": notes,
    }
    if not syntax_only:
        data = locate(dataset, base.get("data_path"))
        # What RecBole takes where nothing is said; load_col of a data set it knows is in its own files.
        config = {name: known.default for name, known in TABLE.items()} | {"load_col": None} | base
        item = check_columns(data, config, searched_features(space) or features_of(chosen, config))
        facts |= {"dataset": dataset, "item_columns": list(item)}
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
        return
    console = make_console()
    total = counted.total
    size = "infinitely many" if total is None else f"{total:,}"
    plural = "s" if total != 1 else ""
    console.print(
        f"{file}: {size} configuration{plural} of {len(space)} parameters", highlight=False, soft_wrap=True
    )
    for reason, count in counted.reasons:
        console.print(
            f"{'some' if count is None else f'{count:,}'} of them cannot exist and are never run: {reason}",
            highlight=False,
            soft_wrap=True,
        )
    if counted.feasible == 0:
        raise InputError("no configuration is left", where=str(file))
    for note in notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True, markup=False)
    for parameter in space:
        console.print(f"  {parameter.write()}", highlight=False, soft_wrap=True, markup=False)


def list_studies(out: Path, as_json: bool) -> None:
    """Print the studies below `out`."""
    found = all_studies(out)
    rows: list[dict[str, Any]] = []
    for study_dir in found:
        try:
            manifest = read_manifest(study_dir)
        except StorageError as error:
            rows.append({"study": study_dir.name, "error": error.what})
            continue
        keys = ("model", "dataset", "metric", "planned_trials", "updated")
        known = {"study": study_dir.name, "ended": trials_ended(study_dir.trials)}
        rows.append(known | {key: manifest.get(key) for key in keys})
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    console = make_console()
    if not rows:
        console.print(f"no studies in {out}", highlight=False)
        return
    table = Table(box=None, pad_edge=False)
    for header in ("study", "model", "dataset", "metric", "trials ended", "updated"):
        table.add_column(header)
    for row in rows:
        if "error" in row:
            table.add_row(row["study"], row["error"])
            continue
        ended = "?" if row["ended"] is None else row["ended"]
        updated = timestamp_text(row["updated"])
        planned = row["planned_trials"]
        # Where --trials was lowered more have ended than there are to be.
        lowered = isinstance(ended, int) and isinstance(planned, int) and ended > planned
        trials = str(ended) if lowered else f"{ended} of {planned}"
        facts = (str(row[key]) for key in ("study", "model", "dataset", "metric"))
        table.add_row(*facts, trials, updated)
    print_table(console, table)


def _report_table(
    study_dir: StudyDirectory,
    material: ReportData,
    rows: Sequence[Row],
    shown: Sequence[Row],
    output: Path | None,
    results: Results,
    tests: Mapping[int, Mapping[str, float]] | None,
) -> None:
    from sasrecf_tune.report.study_sections import show_confirmed, show_tests
    from sasrecf_tune.report.terminal.ranking import show_report

    def render(console: Console) -> None:
        show_report(material, rows, shown, console)
        if tests is not None:
            show_tests(shown, tests, console)
        show_confirmed(material, results, study_dir, console)

    if output is None:
        render(make_console())
        return
    text = io.StringIO()
    render(make_console(text))
    write_output(text.getvalue(), output)


def _report_page(study_dir: StudyDirectory, material: ReportData, output: Path | None) -> None:
    from sasrecf_tune.report.page.render import render_page

    path = study_dir.report if output is None else output.absolute()
    write_output(render_page(material), path)
    make_console().print(str(path), highlight=False, markup=False, soft_wrap=True)
