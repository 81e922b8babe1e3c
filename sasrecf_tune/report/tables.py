"""The ranked table on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sasrecf_tune.ranking import COMPLETE, FAILED, PRUNED, Row, TrialRecord
from sasrecf_tune.report.exports import cell_text, score_text
from sasrecf_tune.settings import format_duration
from sasrecf_tune.space import SearchSpace

STYLES = {COMPLETE: "", PRUNED: "dim", FAILED: "red", "running": "cyan"}
BARS = "▁▂▃▄▅▆▇█"


def ranking_table(
    rows: Sequence[Row], names: Sequence[str], metric: str, width: int, title: str = ""
) -> Table:
    """Best first; parameters share one column where `width` has no room for one each."""
    separate = _natural_width(rows, names, metric) <= width
    table = Table(title=title or None, title_justify="left", title_style="bold", pad_edge=False, box=None)
    table.add_column("rank", justify="right")
    table.add_column(metric, justify="right", style="bold")
    table.add_column("trial", justify="right")
    table.add_column("state")
    table.add_column("epochs", justify="right")
    table.add_column("time", justify="right")
    for name in names if separate else ["parameters"]:
        table.add_column(name, overflow="fold")
    for row in rows:
        record = row.record
        values = {name: cell_text(record.params[name]) for name in names if name in record.params}
        cells = (
            [values.get(name, "") for name in names]
            if separate
            else [" ".join(f"{name}={value}" for name, value in values.items())]
        )
        table.add_row(
            str(row.rank) if row.rank else "",
            score_text(record.score),
            str(record.number),
            record.state,
            epochs_text(record),
            format_duration(record.seconds),
            *(Text(cell) for cell in cells),
            style="bold green" if row.rank == 1 else STYLES.get(record.state, ""),
        )
    return table


def varied(space: SearchSpace) -> tuple[str, ...]:
    """Parameters that take more than one value; the others would only fill the table."""
    return tuple(p.name for p in space if p.size != 1) or space.names


def epochs_text(record: TrialRecord) -> str:
    """Epochs trained, and in brackets the best one: "12 (7)"."""
    return f"{record.epochs} ({record.best_epoch})" if record.best_epoch else str(record.epochs)


def print_failures(rows: Sequence[Row], console: Console) -> None:
    """One line for each failed trial: its number and reason."""
    for row in rows:
        if row.record.error:
            console.print(Text(f"trial {row.record.number} failed: {row.record.error}", style="red"))


def sparkline(values: Sequence[float], width: int = 20) -> str:
    """The last `width` values as bars, scaled between the least and the greatest of them."""
    shown = list(values)[-width:]
    finite = [value for value in shown if value == value]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] if value == value else " " for value in shown)


def _natural_width(rows: Sequence[Row], names: Sequence[str], metric: str) -> int:
    def column(header: str, cells: Sequence[str]) -> int:
        return max([len(header), *map(len, cells)]) + 2

    parameters = sum(
        column(name, [cell_text(row.record.params[name]) for row in rows if name in row.record.params])
        for name in names
    )
    fixed = len("rank  trial  complete  ") + max(8, len(metric) + 2) + len("100 (100)  12m 05s  ")
    return fixed + parameters
