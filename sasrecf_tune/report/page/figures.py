"""The figures of the page as Plotly JSON: how the search went, and score against cost.

Colours are names of the page's CSS variables ("--best"). figures.js replaces them by their values in light,
dark and print.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sasrecf_tune.analysis.budget import pareto
from sasrecf_tune.analysis.numeric_study import numeric_study, plotly_text
from sasrecf_tune.analysis.report_data import ReportData
from sasrecf_tune.inputs.metrics import Metric
from sasrecf_tune.trials import State, TrialRecord

Json = dict[str, Any]

# Points drawn of a learning curve: more than a screen shows.
_POINTS = 50


@dataclass(frozen=True)
class Figure:
    """A Plotly figure with a title and a description.

    Args:
        key: The id of its element.
        text: What it shows, in words.
        traces: Plotly's `data`.
        layout: Plotly's `layout`.
        height: In pixels.
        min_width: In pixels; on a narrower screen the figure scrolls.
    """

    key: str
    title: str
    text: str
    traces: list[Json]
    layout: Json
    height: int = 340
    min_width: int = 0


@dataclass(frozen=True)
class FigureGroup:
    """Figures under one heading.

    Args:
        layout: "one" (each over the whole width), "two" or "many" side by side.
    """

    title: str
    figures: Sequence[Figure]
    text: str = ""
    layout: str = "two"


def search_figures(data: ReportData) -> list[FigureGroup]:
    """Return the figures of how the search went."""
    return [FigureGroup("How the search went", [_history(data), _learning_curves(data)])]


def cost_figures(data: ReportData) -> list[FigureGroup]:
    """Return score against training time, and against model size where that differs."""
    figures = [_cost(data, "training time", "seconds", lambda record: record.seconds)]
    if len({record.weights for record in data.ranked}) > 1:
        figures.append(_cost(data, "model size", "weights", lambda record: record.weights))
    return [FigureGroup("Score against cost", figures)]


def optuna_figure(figure: Any, traces: int) -> tuple[list[Json], Json]:
    """Return the first `traces` traces and the axes of one of Optuna's figures."""
    content = json.loads(figure.to_json())
    return content["data"][:traces], {axis: content["layout"][axis] for axis in ("xaxis", "yaxis")}


def axes(x: str, y: str) -> Json:
    """Return a layout with these axis titles."""
    return {"xaxis": {"title": {"text": plotly_text(x)}}, "yaxis": {"title": {"text": plotly_text(y)}}}


def whole_ticks(values: Sequence[float]) -> Json:
    """Return the part of an axis's layout that puts ticks of `values` at whole numbers, about ten at most."""
    span = max(values, default=0) - min(values, default=0)
    if len(values) > 0 and not span:
        return {"tickvals": [values[0]], "tickformat": ",d"}
    step = next(n * 10**power for power in range(19) for n in (1, 2, 5) if span <= 10 * n * 10**power)
    return {"tick0": 0, "dtick": step, "tickformat": ",d"}


def score_range(scores: Iterable[float | None], metric: Metric) -> Json:
    """Return the range of an axis of scores, which Plotly makes two wide if all of them are the same."""
    known = {score for score in scores if score is not None and math.isfinite(score)}
    if len(known) != 1:
        return {}
    (score,) = known
    margin = max(0.1 * abs(score), 10 * metric.unit)
    low = score - margin
    return {"range": [max(0.0, low) if score >= 0 else low, score + margin]}


def joined_lines(lines: Sequence[tuple[str, Sequence[float], Sequence[float]]]) -> Json:
    """Return many (label, x, y) lines as one trace with gaps, which a browser draws at once."""
    trace: Json = {"type": "scatter", "mode": "lines", "x": [], "y": [], "text": []}
    for label, x, y in lines:
        trace["x"] += [*x, None]
        trace["y"] += [*(value if math.isfinite(value) else None for value in y), None]
        trace["text"] += [label] * (len(x) + 1)
    return trace


def _history(data: ReportData) -> Figure:
    """Optuna's optimization history: completed trials and the best so far."""
    import optuna

    study = numeric_study(data.ranked, (), data.space, data.metric.maximize)
    figure = optuna.visualization.plot_optimization_history(study, target_name=str(data.metric))
    (scores, line), layout = optuna_figure(figure, 2)
    # `study` holds completed trials only, so Optuna numbers them without the pruned ones.
    numbers = sorted(record.number for record in data.ranked)
    scores |= {"x": numbers, "name": "completed", "marker": {"color": "--complete"}}
    line |= {"x": numbers, "name": "best so far", "line": {"color": "--best", "shape": "hv", "width": 2}}
    layout["xaxis"] |= whole_ticks(numbers)
    layout["yaxis"] |= score_range((record.score for record in data.ranked), data.metric)
    best = max(data.ranked, key=lambda r: (r.score or 0.0) * (1 if data.metric.maximize else -1))
    text = (
        f"The score of each completed trial, and the best so far: {data.metric.text(best.score)}, reached "
        f"by trial {best.number} of {len(data.records):,}."
    )
    return Figure("history", "Optimization history", text, [scores, line], layout)


def _learning_curves(data: ReportData) -> Figure:
    """The score by epoch of every completed, pruned and paused trial."""
    best = data.ranked[0]
    completed = [r for r in data.records if r.state == State.COMPLETE and r != best]
    pruned = [r for r in data.records if r.state == State.PRUNED]
    paused = [r for r in data.records if r.state == State.PAUSED]
    kinds = [
        ("completed", "--complete", 1, completed),
        ("pruned", "--pruned", 1, pruned),
        ("paused", "--pruned", 1, paused),
        ("best", "--best", 3, [best]),
    ]
    traces = []
    for name, color, width, records in kinds:
        curves = [(f"trial {r.number}", _thinned(data.curves.get(r.number, []))) for r in records]
        trace = joined_lines(
            [(label, [e for e, _ in curve], [s for _, s in curve]) for label, curve in curves if curve]
        )
        if trace["x"]:
            opacity = 1.0 if name == "best" else 0.7 if len(records) < 100 else 0.3
            trace |= {"name": name, "line": {"color": color, "width": width}, "opacity": opacity}
            if any(len(curve) == 1 for _, curve in curves):
                # A line of one point cannot be seen.
                trace |= {"mode": "lines+markers", "marker": {"size": 4}}
            traces.append(trace | {"hovertemplate": "%{text}, epoch %{x}: " + _y(data) + "<extra></extra>"})
    counts = ", ".join(f"{len(records):,} {name}" for name, _, _, records in kinds if records)
    text = (
        f"{data.metric} on the validation set after each epoch ({counts}). "
        f"The best, trial {best.number}, had its best epoch at {best.best_epoch} of {best.epochs}."
    )
    layout = axes("epoch", str(data.metric))
    layout["xaxis"] |= whole_ticks([epoch for trace in traces for epoch in trace["x"] if epoch is not None])
    layout["yaxis"] |= score_range((score for trace in traces for score in trace["y"]), data.metric)
    return Figure("curves", "Learning curves", text, traces, layout)


def _cost(data: ReportData, title: str, unit: str, cost: Callable[[TrialRecord], float]) -> Figure:
    """Score against the cost of a trial, with the Pareto front."""
    front = pareto(data.ranked, cost, data.metric.maximize)
    traces = []
    for name, color, records, mode in (
        ("completed", "--complete", data.ranked, "markers"),
        ("Pareto front", "--best", front, "lines+markers"),
    ):
        traces.append(
            {
                "type": "scatter",
                "x": [cost(record) for record in records],
                "y": [record.score for record in records],
                "text": [f"trial {record.number}" for record in records],
                "name": name,
                "mode": mode,
                "marker": {"color": color, "size": 6 if mode == "markers" else 9},
                "line": {"color": color, "shape": "hv", "width": 1.5},
                "opacity": 0.6 if mode == "markers" else 1,
                "hovertemplate": "%{text}: " + _y(data) + f", %{{x:,}} {unit}<extra></extra>",
            }
        )
    ends = [
        f"trial {r.number} ({data.metric.text(r.score)}, {cost(r):,.0f} {unit})"
        for r in (front[0], front[-1])
    ]
    text = f"{data.metric} against the {title} of each completed trial. "
    if len(front) > 1:
        text += f"The Pareto front has {len(front)} trials, from {ends[0]} to {ends[1]}."
    else:
        text += f"The cheapest trial is also the best: {ends[0]}."
    layout = axes(f"{title} ({unit})", str(data.metric))
    layout["xaxis"] |= whole_ticks([cost(record) for record in data.ranked])
    layout["yaxis"] |= score_range((record.score for record in data.ranked), data.metric)
    return Figure(f"cost-{unit}", f"Score against {title}", text, traces, layout)


def _y(data: ReportData) -> str:
    """A score in a hover text of Plotly, with the metric's decimals."""
    return f"%{{y:.{data.metric.decimals}f}}"


def _thinned(curve: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    step = math.ceil(len(curve) / _POINTS)
    return curve if step <= 1 else [*curve[:-1:step], curve[-1]]
