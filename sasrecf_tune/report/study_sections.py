"""What `report` prints below the ranked table: the confirmation, and test metrics with --show-test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from sasrecf_tune.analysis.confirmation import Confirmation, best_configurations
from sasrecf_tune.analysis.report_data import ReportData, Results
from sasrecf_tune.inputs.metrics import Metric
from sasrecf_tune.report.confirmation_text import luck_text, show_confirmation
from sasrecf_tune.report.formats.confirmation import confirmation_content, confirmation_markdown
from sasrecf_tune.report.terminal.console import print_command, print_line, print_table
from sasrecf_tune.report.text import count_text, markdown_table, trials_text
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.trials import Row

SELECTING_ON_TEST = (
    "warning: choosing by test metrics selects on the test set and makes the chosen score too optimistic. "
    "`sasrecf-tune confirm` prints the test metrics to report."
)

Tests = Mapping[int, Mapping[str, float]]


def show_confirmed(data: ReportData, results: Results, study_dir: StudyDirectory, console: Console) -> None:
    """Print the confirmation, and which runs are still to be trained."""
    if data.confirmed_ranking is None:
        return
    console.print()
    shown, verdict = data.confirmed_ranking
    show_confirmation(shown, verdict, data.metric, console)
    if luck := luck_text(verdict, results.records, data.metric):
        print_line(console, luck)
    for text in _open_runs(results, shown, data.metric.maximize):
        command = f"sasrecf-tune confirm {study_dir.arguments}"
        print_command(console, f"{text} To continue:", command)


def confirmed_markdown(data: ReportData) -> str:
    """Return the confirmation in Markdown, "" without one."""
    if data.confirmed_ranking is None:
        return ""
    return "\n" + confirmation_markdown(*data.confirmed_ranking, data.space.names, data.metric)


def confirmed_content(data: ReportData) -> dict[str, Any]:
    """Return the confirmation for JSON as the key `confirmation`, {} without one."""
    return (
        {}
        if data.confirmed_ranking is None
        else {"confirmation": confirmation_content(*data.confirmed_ranking)}
    )


def show_tests(rows: Sequence[Row], tests: Tests, metric: Metric, console: Console) -> None:
    """Print a table of the test metrics of completed trials."""
    keys = list(next(iter(tests.values()), {}))
    table = Table(pad_edge=False, box=None, title="on the test set", title_justify="left")
    for header in ("trial", *keys):
        table.add_column(header, justify="right")
    for row in rows:
        if found := tests.get(row.record.number):
            table.add_row(str(row.record.number), *(metric.text(found.get(key)) for key in keys))
    if table.row_count:
        console.print()
        print_table(console, table)


def test_markdown(
    rows: Sequence[Row], tests: Tests | None, metric_keys: Sequence[str], metric: Metric
) -> str:
    """Return the table of test metrics in Markdown, "" without any."""
    if not tests:
        return ""
    cells = [
        [str(row.record.number), *(metric.text(found.get(key)) for key in metric_keys)]
        for row in rows
        if (found := tests.get(row.record.number))
    ]
    return "\n" + markdown_table(["trial", *(f"test {key}" for key in metric_keys)], cells)


def _open_runs(results: Results, shown: Confirmation, maximize: bool) -> list[str]:
    lines = []
    latest = results.latest_confirmation
    if latest is not None and not latest.complete and latest is not shown:
        ended = sum(run in latest.runs for run in latest.wanted)
        lines.append(
            f"The confirmation of {count_text(len(latest.configurations), 'configuration')} on "
            f"{count_text(len(latest.seeds), 'seed')} is not finished: {ended} of "
            f"{count_text(len(latest.wanted), 'run')}."
        )
    best = best_configurations(results.records, maximize, shown.top)
    new = [trial for trial, params in best.items() if params not in shown.configurations.values()]
    if new:
        lines.append(f"A confirmation would now have {trials_text(new)}, too.")
    elif latest is shown and not shown.complete:
        lines.append("It is not finished.")
    return lines
