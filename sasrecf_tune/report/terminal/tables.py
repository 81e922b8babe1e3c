"""The ranked table on a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sasrecf_tune.analysis.bounds import AtBound
from sasrecf_tune.inputs.durations import format_duration
from sasrecf_tune.inputs.metrics import Metric
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.report.bounds_text import bounds_sentence
from sasrecf_tune.report.choice_text import PREDICTED, has_predictions, predicted_text
from sasrecf_tune.report.text import epochs_text, parameter_cells, parameters_text
from sasrecf_tune.trials import Prediction, Row, State, TrialRecord, cell_text

STYLES = {
    State.COMPLETE: "",
    State.PRUNED: "dim",
    State.PAUSED: "dim",
    State.FAILED: "red",
    State.RUNNING: "cyan",
}
BARS = "▁▂▃▄▅▆▇█"
# Characters of a learning curve.
CURVE_WIDTH = 12
_FAILURES = 10


def ranking_table(
    rows: Sequence[Row],
    names: Sequence[str],
    metric: Metric,
    width: int,
    curves: Mapping[int, Sequence[tuple[int, float]]] | None = None,
) -> RenderableType:
    """Return the table of `rows`.

    If `width` (characters) has no room for a column for each parameter, the parameters of a trial are on a
    line of their own. Learning curves, then predicted scores, are left out where there is no room for them.
    """
    predicted = has_predictions(rows)
    natural = _natural_width(rows, names, metric)
    drawn = shared_sparklines(curves, [row.record.number for row in rows]) if curves else []
    if natural > width:
        return _stacked_table(rows, names, metric, width, drawn)
    table = Table(pad_edge=False, box=None)
    table.add_column("rank", justify="right")
    table.add_column(str(metric), justify="right", style="bold")
    if predicted:
        table.add_column(PREDICTED, justify="right", no_wrap=True)
    table.add_column("trial", justify="right")
    table.add_column("state")
    table.add_column("epochs", justify="right")
    table.add_column("time", justify="right")
    for name in names:
        table.add_column(name, overflow="fold")
    if drawn and natural + CURVE_WIDTH + 2 <= width:
        table.add_column("curve", no_wrap=True)
    else:
        drawn = []
    for place, row in enumerate(rows):
        record = row.record
        table.add_row(
            str(row.rank) if row.rank else "",
            metric.text(record.score),
            *([predicted_text(record, metric)] if predicted else []),
            str(record.number),
            record.state_text,
            epochs_text(record),
            format_duration(record.seconds),
            *map(Text, [*parameter_cells(record.params, names), *drawn[place : place + 1]]),
            style=_style(row),
        )
    return table


def _stacked_table(
    rows: Sequence[Row], names: Sequence[str], metric: Metric, width: int, drawn: Sequence[str]
) -> RenderableType:
    """Return a table with the parameters of each trial on the lines below its scores."""
    size = max(metric.decimals + 2, len(str(metric)))
    wide = len(_predicted_example(metric)) if has_predictions(rows) else 0
    plain = f"rank  {metric!s:>{size}}  trial  state      epochs     time"
    if len(plain) + 2 + wide > width:
        wide = 0
    title = f"  {PREDICTED:>{wide}}" if wide else ""
    header = f"rank  {metric!s:>{size}}{title}  trial  state      epochs     time"
    if len(header) + 2 + CURVE_WIDTH > width:
        drawn = []
    lines: list[RenderableType] = [Text(header + ("  learning curve" if drawn else ""), style="bold")]
    for place, row in enumerate(rows):
        record = row.record
        predicted = f"  {predicted_text(record, metric):>{wide}}" if wide else ""
        cells = (
            f"{row.rank or '':>4}  {metric.text(record.score):>{size}}{predicted}"
            f"  {record.number:>5}  {record.state_text:<8}"
            f"  {epochs_text(record):>7}  {format_duration(record.seconds):>7}"
        )
        lines.append(Text("  ".join([cells, *drawn[place : place + 1]]), style=_style(row)))
        lines.append(Padding(Text(parameters_text(record.params, names), style="dim"), (0, 0, 0, 6)))
    return Group(*lines)


def _predicted_example(metric: Metric) -> str:
    return predicted_text(TrialRecord(0, State.COMPLETE, {}, predicted=Prediction(0.0, 0.0)), metric)


def _style(row: Row) -> str:
    return "bold green" if row.rank == 1 else STYLES.get(row.record.state, "")


def varied(space: SearchSpace) -> tuple[str, ...]:
    """Return the parameters with more than one value, or all if there is none."""
    return tuple(p.name for p in space if p.size != 1) or space.names


def show_bounds(found: Sequence[AtBound], console: Console) -> None:
    """Print which values of the best lie on a bound, and lines for the params file; nothing without any."""
    if found:
        console.print()
        console.print(Text(bounds_sentence(found)))
        for one in found:
            # Never wrapped, so that it can be copied.
            console.print(Text(f"  {one.line}"), soft_wrap=True)


def print_failures(rows: Sequence[Row], console: Console) -> None:
    """Print the number and the reason of the first failed trials."""
    failed = [row.record for row in rows if row.record.error]
    for record in failed[:_FAILURES]:
        console.print(Text(f"trial {record.number} failed: {record.error}", style="red"))
    if len(failed) > _FAILURES:
        console.print(Text(f"... and {len(failed) - _FAILURES} more failed", style="red"))


def sparkline(values: Sequence[float], width: int = 20, span: tuple[float, float] | None = None) -> str:
    """Return the last `width` values as bars, scaled to `span` (their minimum and maximum by default)."""
    shown = list(values)[-width:]
    finite = [value for value in shown if value == value]
    if not finite:
        return ""
    low, high = span or (min(finite), max(finite))
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] if value == value else " " for value in shown)


def shared_sparklines(curves: Mapping[int, Sequence[tuple[int, float]]], shown: Sequence[int]) -> list[str]:
    """Return the (epoch, score) curves of the trials `shown` as bars on a common scale.

    Scale and epochs are those of all `curves`, so a trial's bars do not depend on which trials are shown.
    """
    finite = [score for curve in curves.values() for _, score in curve if math.isfinite(score)]
    if not finite:
        return []
    last = max(epoch for curve in curves.values() for epoch, _ in curve)
    columns = min(CURVE_WIDTH, last)
    lines = []
    for number in shown:
        curve = curves.get(number, [])
        # The last epoch of a column counts.
        by_column = {(epoch - 1) * columns // last: score for epoch, score in curve}
        scores = [by_column.get(column, math.nan) for column in range(max(by_column, default=-1) + 1)]
        bars = [score if math.isfinite(score) else math.nan for score in scores]
        lines.append(sparkline(bars, CURVE_WIDTH, (min(finite), max(finite))))
    return lines


def _natural_width(rows: Sequence[Row], names: Sequence[str], metric: Metric) -> int:
    def column(header: str, cells: Sequence[str]) -> int:
        return max([len(header), *map(len, cells)]) + 2

    parameters = sum(
        column(name, [cell_text(row.record.params[name]) for row in rows if name in row.record.params])
        for name in names
    )
    fixed = (
        len("rank  trial  complete  ")
        + max(metric.decimals + 4, len(str(metric)) + 2)
        + len("100 (100)  12m 05s  ")
        + (len(_predicted_example(metric)) + 2 if has_predictions(rows) else 0)
    )
    return fixed + parameters
