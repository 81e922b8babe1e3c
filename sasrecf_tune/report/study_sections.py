"""What `report` adds to the ranked table: the confirmation, and test metrics for those who ask for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sasrecf_tune.analysis.confirmation import Confirmation, best_configurations
from sasrecf_tune.analysis.report_data import ReportData, Results
from sasrecf_tune.report.confirmation_text import luck_text, show_confirmation
from sasrecf_tune.report.formats.confirmation import confirmation_content, confirmation_markdown
from sasrecf_tune.report.terminal.console import print_table
from sasrecf_tune.report.text import markdown_table
from sasrecf_tune.storage.directory import StudyDirectory, out_option
from sasrecf_tune.trials import Row, score_text

SELECTING_ON_TEST = (
    "warning: to choose by test metrics is to select on the test set, which then flatters the one that was "
    "chosen. `sasrecf-tune confirm` has those of the configurations to report."
)

Tests = Mapping[int, Mapping[str, float]]


def show_confirmed(data: ReportData, results: Results, study_dir: StudyDirectory, console: Console) -> None:
    """The last confirmation that was trained to its end, else what there is of one; and what is open."""
    if data.confirmed_ranking is None:
        return
    console.print()
    shown, verdict = data.confirmed_ranking
    show_confirmation(shown, verdict, data.metric, console)
    if luck := luck_text(verdict, results.records, data.metric):
        console.print(Text(luck), soft_wrap=not console.is_terminal)
    for note in _open(results, shown, data.metric.maximize):
        command = f"sasrecf-tune confirm {study_dir.name}{out_option(study_dir)}"
        console.print(Text(f"{note} To go on: {command}"), soft_wrap=not console.is_terminal)


def confirmed_markdown(data: ReportData) -> str:
    """As `show_confirmed`, in Markdown; "" where there is none."""
    if data.confirmed_ranking is None:
        return ""
    return "\n" + confirmation_markdown(*data.confirmed_ranking, data.space.names, str(data.metric))


def confirmed_content(data: ReportData) -> dict[str, Any]:
    """As `show_confirmed`, for JSON: nothing, or a key `confirmation`."""
    return (
        {}
        if data.confirmed_ranking is None
        else {"confirmation": confirmation_content(*data.confirmed_ranking)}
    )


def show_tests(rows: Sequence[Row], tests: Tests, console: Console) -> None:
    """Test metrics of completed trials."""
    keys = list(next(iter(tests.values()), {}))
    table = Table(pad_edge=False, box=None, title="on the test set", title_justify="left")
    for header in ("trial", *keys):
        table.add_column(header, justify="right")
    for row in rows:
        if found := tests.get(row.record.number):
            table.add_row(str(row.record.number), *(score_text(found.get(key)) for key in keys))
    if table.row_count:
        console.print()
        print_table(console, table)


def test_markdown(rows: Sequence[Row], tests: Tests | None, metric_keys: Sequence[str]) -> str:
    """As `show_tests`, in Markdown; "" without any."""
    if not tests:
        return ""
    cells = [
        [str(row.record.number), *(score_text(found.get(key)) for key in metric_keys)]
        for row in rows
        if (found := tests.get(row.record.number))
    ]
    return "\n" + markdown_table(["trial", *(f"test {key}" for key in metric_keys)], cells)


def _open(results: Results, shown: Confirmation, maximize: bool) -> list[str]:
    notes = []
    asked = results.latest_confirmation
    if asked is not None and not asked.complete and asked is not shown:
        ended = sum(run in asked.runs for run in asked.wanted)
        notes.append(
            f"A confirmation of {len(asked.configurations)} on {len(asked.seeds)} seeds is not done: "
            f"{ended} of {len(asked.wanted)} runs."
        )
    best = best_configurations(results.records, maximize, shown.top)
    new = [str(trial) for trial, params in best.items() if params not in shown.configurations.values()]
    if new:
        plural = "s" if len(new) > 1 else ""
        notes.append(f"The search has gone on since: trial{plural} {', '.join(new)} would be confirmed now.")
    elif asked is shown and not shown.complete:
        notes.append("It is not done.")
    return notes
