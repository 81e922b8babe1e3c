"""A study as a small piece of HTML for a notebook: no script, nothing loaded, all text escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape as escape_html

from sasrecf_tune.analysis.report_data import ReportData
from sasrecf_tune.report.choice_text import PREDICTED, choice_text, has_predictions, predicted_text
from sasrecf_tune.report.text import parameter_cells, visible
from sasrecf_tune.trials import State, TrialRecord

_ROWS = 10
# Curves drawn, and points of each: more cover one another.
_CURVES = 100
_POINTS = 50
_WIDTH, _HEIGHT = 640, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 12, 34
# Readable on white and on black.
_COLORS = {"best": "#1f9d55", State.COMPLETE: "#4a8fd9", State.PRUNED: "#9a9a9a", State.RUNNING: "#d98a1f"}


def study_html(summary: str, data: ReportData, confirmation: str) -> str:
    """The summary, the first rows of the ranked table, the learning curves, and what a confirmation says."""
    parts = [f"<p><strong>{escape(summary)}</strong></p>"]
    if data.rows:
        parts += [_table(data), _curves(data)]
    if confirmation:
        parts.append(f"<p>Confirmation: {escape(confirmation)}</p>")
    return f"<div>{''.join(parts)}</div>"


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; a notebook styles it."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def escape(text: str) -> str:
    """`text` as HTML that shows each character of it."""
    return escape_html(visible(text))


def _table(data: ReportData) -> str:
    predicted = [PREDICTED] if has_predictions(data.rows) else []
    header = ["rank", str(data.metric), *predicted, "trial", "state", "epochs", *data.varied]
    rows = [
        [
            str(row.rank or ""),
            data.metric.text(row.record.score),
            *(predicted_text(row.record, data.metric) for _ in predicted),
            str(row.record.number),
            row.record.state_text,
            f"{row.record.epochs} ({row.record.best_epoch})" if row.record.best_epoch else "",
            *parameter_cells(row.record.params, data.varied),
        ]
        for row in data.rows[:_ROWS]
    ]
    more = len(data.rows) - len(rows)
    note = f"<p>... and {more:,} more: trials_dataframe() has all.</p>" if more else ""
    why = choice_text(data.rows, data.metric)
    return html_table(header, rows) + note + (f"<p>{escape(why)}</p>" if why else "")


def _curves(data: ReportData) -> str:
    """The learning curves as SVG, the best on top."""
    ranked = {row.record.number: place for place, row in enumerate(data.rows)}
    records = [record for record in data.records if data.curves.get(record.number)]
    records = sorted(records, key=lambda record: ranked.get(record.number, len(ranked)))[:_CURVES]
    if not records:
        return ""
    points = [point for record in records for point in data.curves[record.number]]
    last = max(2, max(epoch for epoch, _ in points))
    low, high = min(score for _, score in points), max(score for _, score in points)
    high = high if high > low else low + 1e-4
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def x(epoch: float) -> float:
        return _LEFT + (right - _LEFT) * (epoch - 1) / (last - 1)

    def y(score: float) -> float:
        return bottom - (bottom - _TOP) * (score - low) / (high - low)

    lines = []
    for record in reversed(records):
        curve = data.curves[record.number]
        thinned = curve[:: max(1, len(curve) // _POINTS)] + curve[-1:]
        color, width = _style(record, data)
        drawn = " ".join(f"{x(epoch):.1f},{y(score):.1f}" for epoch, score in thinned)
        title = escape(f"trial {record.number} ({record.state_text}): {data.metric.text(record.score)}")
        lines.append(
            f'<polyline points="{drawn}" fill="none" stroke="{color}" stroke-width="{width}" '
            f'stroke-linecap="round"><title>{title}</title></polyline>'
        )
    labels = [
        (_LEFT - 6, y(low), "end", data.metric.text(low)),
        (_LEFT - 6, y(high) + 8, "end", data.metric.text(high)),
        (_LEFT, _HEIGHT - 16, "middle", "1"),
        (right, _HEIGHT - 16, "middle", f"{last}"),
        ((_LEFT + right) / 2, _HEIGHT - 16, "middle", "epoch"),
    ]
    texts = "".join(
        f'<text x="{left:.0f}" y="{top:.0f}" text-anchor="{anchor}">{escape(text)}</text>'
        for left, top, anchor, text in labels
    )
    axes = f'<path d="M{_LEFT},{_TOP} V{bottom} H{right}" fill="none" stroke="currentColor" opacity="0.5"/>'
    caption = f"{data.metric} on validation: best green, completed blue, pruned and paused grey"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'style="max-width:100%" role="img" aria-label="{escape(caption)}" font-size="12" '
        f'font-family="sans-serif" fill="currentColor">{axes}{"".join(lines)}{texts}</svg>'
        f"<p>{escape(caption)}</p>"
    )


def _style(record: TrialRecord, data: ReportData) -> tuple[str, float]:
    if record == data.best:
        return _COLORS["best"], 3
    return _COLORS.get(record.state, _COLORS[State.PRUNED]), 1.2
