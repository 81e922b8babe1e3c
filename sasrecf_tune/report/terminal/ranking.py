"""The report on a terminal: the ranked table, learning curves, importance and effects of parameters."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sasrecf_tune.analysis.contrasts import CONFIDENCE
from sasrecf_tune.analysis.importance import DASHBOARD_DIFFERS, LEAST_TRIALS, importance
from sasrecf_tune.analysis.main_effects import main_effects
from sasrecf_tune.analysis.report_data import ReportData
from sasrecf_tune.report.choice_text import choice_text
from sasrecf_tune.report.terminal.console import print_table
from sasrecf_tune.report.terminal.tables import (
    print_failures,
    ranking_table,
    show_bounds,
    varied,
)
from sasrecf_tune.report.text import percent_text, states_text
from sasrecf_tune.trials import Row

_BAR_WIDTH = 24


def show_report(data: ReportData, rows: Sequence[Row], shown: Sequence[Row], console: Console) -> None:
    """Print `shown`, the first of the selected `rows`, and importance and effects of the parameters."""
    _line(console, f"{data.name}: {data.metric} on validation; {states_text(data)}")
    if not data.completed:
        _line(console, "no trial has completed yet")
    if shown:
        names, metric = varied(data.space), data.metric
        print_table(console, ranking_table(shown, names, metric, console.width, data.curves))
        if len(shown) < len(rows):
            _line(console, f"... and {len(rows) - len(shown)} more (--top 0 shows all)")
        if why := choice_text(data.rows, data.metric):
            console.print(Text(why))
    elif data.rows:
        _line(console, "no trial matches all filters")
    show_bounds(data.at_bounds, console)
    _print_importance(data, console)
    _print_effects(data, console)
    print_failures(rows, console)


def _print_importance(data: ReportData, console: Console) -> None:
    found = importance(data)
    if found is None:
        if data.completed and len(data.ranked) < LEAST_TRIALS:
            _line(console, f"\nparameter importance needs at least {LEAST_TRIALS} completed trials", "dim")
        return
    grid = _titled(console, f"importance (fANOVA, from {found.trials} completed trials)")
    for name, share in found.shares.items():
        grid.add_row(name, Text("█" * round(share * _BAR_WIDTH), style="cyan"), f"{percent_text(share):>4}")
    print_table(console, grid)
    console.print(Text(DASHBOARD_DIFFERS, style="dim"))


def _print_effects(data: ReportData, console: Console) -> None:
    effects = main_effects(data.records, data.varied, data.metric)
    clear = [effect for effect in effects if effect.worse or (effect.close and effect.unknown)]
    if clear:
        title = f"effects of the values ({clear[0].trials} completed trials; {CONFIDENCE:.0%} intervals)"
        grid = _titled(console, title)
        for effect in clear:
            grid.add_row(effect.name, Text(effect.sentence(data.metric)))
        print_table(console, grid)
    alike, unknown = (
        [effect for effect in effects if effect not in clear and bool(effect.close) == known]
        for known in (True, False)
    )
    if alike:
        each = ", ".join(f"{e.name} (at most {data.metric.bound_text(e.at_most)})" for e in alike)
        console.print(Text(f"\nno difference seen between the values of {each}"))
    if unknown:
        each = ", ".join(f"{effect.name} ({'; '.join(effect.unknown)})" for effect in unknown)
        console.print(Text(f"\neffect not known: {each}"))


def _titled(console: Console, title: str) -> Table:
    _line(console, f"\n{title}", "bold")
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    return grid


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)
