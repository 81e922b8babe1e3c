"""The report on a terminal: the ranked table, learning curves, importance and effects of parameters."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sasrecf_tune.analysis.importance import LEAST_TRIALS, importance
from sasrecf_tune.analysis.main_effects import main_effects
from sasrecf_tune.analysis.report_data import ReportData
from sasrecf_tune.report.terminal.console import print_table
from sasrecf_tune.report.terminal.tables import (
    print_failures,
    ranking_table,
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
        names, metric = varied(data.space), str(data.metric)
        print_table(console, ranking_table(shown, names, metric, console.width, data.curves))
        if len(shown) < len(rows):
            _line(console, f"... and {len(rows) - len(shown)} more (--top 0 shows all)")
    elif data.rows:
        _line(console, "no trial matches all filters")
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


def _print_effects(data: ReportData, console: Console) -> None:
    effects = main_effects(data.records, data.varied, data.metric.maximize)
    effects = [effect for effect in effects if any(level.behind is not None for level in effect.levels)]
    clear = [effect for effect in effects if any(level.is_worse for level in effect.levels)]
    if clear:
        grid = _titled(console, f"effects of the values ({clear[0].trials} completed trials; 95% intervals)")
        for effect in clear:
            grid.add_row(effect.name, Text(effect.sentence))
        print_table(console, grid)
    alike = [f"{effect.name} (± {effect.noise:.4f})" for effect in effects if effect not in clear]
    if alike:
        console.print(Text(f"\nno difference beyond noise between the values of {', '.join(alike)}"))


def _titled(console: Console, title: str) -> Table:
    _line(console, f"\n{title}", "bold")
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    return grid


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)
