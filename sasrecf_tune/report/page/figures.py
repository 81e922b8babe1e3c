"""The pictures of the page, as figures in Plotly's JSON.

Colours are names of the page's CSS variables ("--best"), which the page replaces by what they are in light,
dark and print.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from sasrecf_tune.analysis.binning import binned
from sasrecf_tune.analysis.budget import pareto
from sasrecf_tune.analysis.numeric_study import is_logarithmic, numeric_study, plain
from sasrecf_tune.analysis.report_data import ReportData
from sasrecf_tune.inputs.literals import is_number
from sasrecf_tune.trials import State, TrialRecord, cell_text, score_text

Json = dict[str, Any]

# Points of a learning curve that are drawn: more than a screen shows.
_POINTS = 50
# Lines of parallel coordinates: more would cover each other.
_LINES = 200
# A numeric parameter with more values than this has an axis of numbers, not one of values.
_TICKS = 6
RAMP = tuple(f"--ramp-{step}" for step in range(5))
_SCALE = [[step / (len(RAMP) - 1), color] for step, color in enumerate(RAMP)]


@dataclass(frozen=True)
class Picture:
    """A figure, its title, and in words what it shows; on a screen less `wide` (pixels) it scrolls."""

    key: str
    title: str
    text: str
    data: list[Json]
    layout: Json
    height: int = 340
    wide: int = 0


def history(material: ReportData) -> Picture:
    """Optuna's optimisation history: completed trials and the best so far."""
    import optuna

    study = numeric_study(material.ranked, (), material.space, material.metric.maximize)
    figure = optuna.visualization.plot_optimization_history(study, target_name=str(material.metric))
    (scores, line), layout = _taken(figure, 2)
    # In memory trials are counted without the pruned ones.
    numbers = sorted(record.number for record in material.ranked)
    scores |= {"x": numbers, "name": "completed", "marker": {"color": "--complete"}}
    line |= {"x": numbers, "name": "best so far", "line": {"color": "--best", "shape": "hv", "width": 2}}
    best = material.ranked[0]
    text = (
        f"The score of each completed trial, and the best so far: {score_text(best.score)} since trial "
        f"{best.number} of {len(material.records):,}."
    )
    return Picture("history", "Optimisation history", text, [scores, line], layout)


def learning_curves(material: ReportData) -> Picture:
    """Every trial's score by epoch: the best, the completed, the pruned."""
    best = material.best
    kinds = [
        (
            "completed",
            "--complete",
            1,
            [r for r in material.records if r.state == State.COMPLETE and r != best],
        ),
        ("pruned", "--pruned", 1, [r for r in material.records if r.state == State.PRUNED]),
        ("best", "--best", 3, [best] if best else []),
    ]
    data = []
    for name, color, width, records in kinds:
        curves = [(f"trial {r.number}", _thinned(material.curves.get(r.number, []))) for r in records]
        trace = _joined(
            [(label, [e for e, _ in curve], [s for _, s in curve]) for label, curve in curves if curve]
        )
        if trace["x"]:
            opacity = 1.0 if name == "best" else 0.7 if len(records) < 100 else 0.3
            trace |= {"name": name, "line": {"color": color, "width": width}, "opacity": opacity}
            data.append(trace | {"hovertemplate": "%{text}, epoch %{x}: %{y:.4f}<extra></extra>"})
    counts = ", ".join(f"{len(records):,} {name}" for name, _, _, records in kinds if records)
    text = f"{material.metric} on the validation set after each epoch ({counts})."
    if best:
        text += f" The best, trial {best.number}, had its best epoch at {best.best_epoch} of {best.epochs}."
    return Picture("curves", "Learning curves", text, data, _axes("epoch", str(material.metric)))


def slices(material: ReportData, names: Sequence[str]) -> list[Picture]:
    """Optuna's slice plot of each parameter."""
    import optuna

    study = numeric_study(material.ranked, names, material.space, material.metric.maximize)
    best, metric = material.ranked[0], str(material.metric)
    opacity = max(0.2, min(0.75, 100 / len(material.ranked)))
    pictures = []
    for name in names:
        (trace,), layout = _taken(
            optuna.visualization.plot_slice(study, params=[name], target_name=metric), 1
        )
        trace["marker"] |= {"colorscale": _SCALE, "showscale": False, "opacity": opacity, "size": 7}
        trace["marker"]["line"]["color"] = "--surface"
        trace["hovertemplate"] = f"{plain(name)} %{{x}}: %{{y:.4f}}<extra></extra>"
        values = [record.params[name] for record in sorted(material.ranked, key=lambda r: r.number)]
        if not all(map(is_number, values)):
            # Optuna puts quotes around words.
            trace["x"] = [plain(cell_text(value)) for value in values]
            layout["xaxis"] = {"title": layout["xaxis"]["title"], "type": "category"}
        elif len(set(values)) <= _TICKS:
            ticks = sorted(set(values))
            layout["xaxis"] |= {"tickvals": ticks, "ticktext": [cell_text(value) for value in ticks]}
        else:
            layout["xaxis"]["exponentformat"] = "e"
        text = f"{metric} by {name}: the best, {score_text(best.score)}, has {cell_text(best.params[name])}."
        pictures.append(Picture(f"slice-{name}", name, text, [trace], layout, height=260))
    return pictures


def contours(material: ReportData, names: Sequence[str]) -> list[Picture]:
    """The mean score of two parameters' values together, for each pair of `names`."""
    count = max(3, min(5, round(math.sqrt(len(material.ranked)) / 1.5)))
    pictures = []
    for first, second in combinations(names, 2):
        across, up = (binned(name, material.ranked, _TICKS, count) for name in (first, second))
        scores: dict[tuple[int, int], list[float]] = {}
        for record in material.ranked:
            cell = (up.of[record.number], across.of[record.number])
            scores.setdefault(cell, []).append(float(record.score or 0.0))
        means = {cell: sum(some) / len(some) for cell, some in scores.items()}
        cells = [[(row, column) for column in range(len(across.labels))] for row in range(len(up.labels))]
        trace = {
            "x": [plain(label) for label in across.labels],
            "y": [plain(label) for label in up.labels],
            "z": [[means.get(cell) for cell in line] for line in cells],
            "customdata": [[len(scores.get(cell, [])) for cell in line] for line in cells],
            "colorscale": _SCALE,
            "reversescale": not material.metric.maximize,
            "colorbar": {"thickness": 12, "outlinewidth": 0},
            "hovertemplate": "%{x}, %{y}: mean %{z:.4f} of %{customdata} trials<extra></extra>",
        }
        if min(len(across.labels), len(up.labels)) > 3:
            trace |= {"type": "contour", "connectgaps": True, "line": {"width": 0.5, "color": "--surface"}}
        else:
            trace |= {"type": "heatmap", "texttemplate": "%{z:.4f}", "xgap": 2, "ygap": 2}
        layout = _axes(first, second)
        layout["xaxis"]["type"] = layout["yaxis"]["type"] = "category"
        row, column = (max if material.metric.maximize else min)(means, key=lambda cell: means[cell])
        where = f"{first} {across.labels[column]} with {second} {up.labels[row]}"
        text = f"Mean {material.metric} of completed trials; the best, {means[row, column]:.4f}, of {where}."
        key = f"contour-{first}-{second}"
        pictures.append(Picture(key, f"{first} and {second}", text, [trace], layout, height=320))
    return pictures


def parallel(material: ReportData, names: Sequence[str]) -> Picture:
    """Parallel coordinates: a line for each of the best completed trials, coloured by its rank.

    Not Optuna's, which makes a trace of each trial: a browser takes seconds for 1,000 of them.
    """
    ranked, metric = material.ranked[:_LINES], str(material.metric)
    axes = [_axis(name, ranked, material) for name in names]
    scores = [float(record.score or 0.0) for record in ranked]
    axes.append((_scaled(scores, False), [(0.0, f"{min(scores):.4f}"), (1.0, f"{max(scores):.4f}")]))
    places = list(range(len(axes)))

    def lines(indices: Sequence[int]) -> Json:
        labels = [f"trial {ranked[index].number}: {score_text(ranked[index].score)}" for index in indices]
        heights = [[crossing[index] for crossing, _ in axes] for index in indices]
        trace = _joined([(label, places, some) for label, some in zip(labels, heights, strict=True)])
        return trace | {"hovertemplate": "%{text}<extra></extra>", "showlegend": False}

    # The worst first, so that the best lie on top.
    parts = min(len(RAMP), len(ranked))
    data = []
    for part in range(parts):
        bounds = [len(ranked) * (parts - part - back) // parts for back in (1, 0)]
        color = RAMP[part + len(RAMP) - parts]
        data.append(lines(range(*bounds)) | {"line": {"color": color, "width": 1.2}, "opacity": 0.6})
    data.append(lines([0]) | {"line": {"color": "--best", "width": 3}})
    shapes, annotations = [], []
    for place, (_, ticks) in enumerate(axes):
        line = {"color": "--muted", "width": 1}
        shapes.append({"type": "line", "x0": place, "x1": place, "y0": 0, "y1": 1, "line": line})
        for at, label in ticks:
            look = {
                "showarrow": False,
                "bgcolor": "--veil",
                "font": {"size": 11},
                "xanchor": "left",
                "xshift": 4,
            }
            annotations.append({"x": place, "y": at, "text": plain(label[:16]), **look})
    shown = [*names, metric]
    layout = {
        "shapes": shapes,
        "annotations": annotations,
        "xaxis": {
            "tickvals": places,
            # A long name has two lines.
            "ticktext": [plain(name).replace("_", "_<br>", len(name) > 12) for name in shown],
            "range": [-0.02, len(shown) - 0.98],
            "showgrid": False,
            "showline": False,
            "zeroline": False,
            "side": "top",
        },
        "yaxis": {"visible": False, "range": [-0.06, 1.06]},
        "margin": {"l": 50, "r": 56, "t": 12, "b": 10},
    }
    which = f"the best {len(ranked):,}" if len(ranked) < len(material.ranked) else f"{len(ranked):,}"
    said = (
        f"A line for each of {which} completed trials, through its parameters to {metric} on the right; the "
        f"better, the stronger in colour. The best is trial {ranked[0].number}."
    )
    return Picture("parallel", "Parallel coordinates", said, data, layout, 420, 100 * len(shown))


def cost(material: ReportData, title: str, unit: str, of: Callable[[TrialRecord], float]) -> Picture:
    """Score against what a trial cost, with the trials that are best for their cost."""
    front = pareto(material.ranked, of, material.metric.maximize)
    data = []
    for name, color, records, mode in (
        ("completed", "--complete", material.ranked, "markers"),
        ("best for its cost", "--best", front, "lines+markers"),
    ):
        data.append(
            {
                "type": "scatter",
                "x": [of(record) for record in records],
                "y": [record.score for record in records],
                "text": [f"trial {record.number}" for record in records],
                "name": name,
                "mode": mode,
                "marker": {"color": color, "size": 6 if mode == "markers" else 9},
                "line": {"color": color, "shape": "hv", "width": 1.5},
                "opacity": 0.6 if mode == "markers" else 1,
                "hovertemplate": f"%{{text}}: %{{y:.4f}}, %{{x:,}} {unit}<extra></extra>",
            }
        )
    ends = [f"trial {r.number} ({score_text(r.score)}, {of(r):,.0f} {unit})" for r in (front[0], front[-1])]
    text = f"{material.metric} against the {title} of each completed trial. "
    if len(front) > 1:
        text += f"{len(front)} are best for their cost, from {ends[0]} to {ends[1]}."
    else:
        text += f"The cheapest is the best: {ends[0]}."
    layout = _axes(f"{title} ({unit})", str(material.metric))
    return Picture(f"cost-{unit}", f"Quality against {title}", text, data, layout)


def _taken(figure: Any, traces: int) -> tuple[list[Json], Json]:
    """Data and axes of one of Optuna's figures."""
    content = json.loads(figure.to_json())
    return content["data"][:traces], {axis: content["layout"][axis] for axis in ("xaxis", "yaxis")}


def _axes(x: str, y: str) -> Json:
    return {"xaxis": {"title": {"text": plain(x)}}, "yaxis": {"title": {"text": plain(y)}}}


def _joined(lines: Sequence[tuple[str, Sequence[float], Sequence[float]]]) -> Json:
    """Many (label, x, y) lines as one trace with gaps, which a browser draws at once."""
    trace: Json = {"type": "scatter", "mode": "lines", "x": [], "y": [], "text": []}
    for label, x, y in lines:
        trace["x"] += [*x, None]
        trace["y"] += [*(value if math.isfinite(value) else None for value in y), None]
        trace["text"] += [label] * (len(x) + 1)
    return trace


def _axis(
    name: str, ranked: Sequence[TrialRecord], material: ReportData
) -> tuple[list[float], list[tuple[float, str]]]:
    """Where each trial crosses the axis (0 to 1), and the axis's ticks."""
    values = [record.params[name] for record in ranked]
    if all(map(is_number, values)) and len(set(values)) > _TICKS:
        log = is_logarithmic(name, values, material.space)
        return _scaled(values, log), [(0.0, f"{min(values):.3g}"), (1.0, f"{max(values):.3g}")]
    known = binned(name, ranked)
    step = 1 / max(1, len(known.labels) - 1)
    # Lines through one value lie beside each other, not on each other.
    spread = min(0.08, step / 3)
    crossings = [
        min(1.0, max(0.0, known.of[record.number] * step + spread * (record.number * 0.618034 % 1 - 0.5)))
        for record in ranked
    ]
    return crossings, [(index * step, label) for index, label in enumerate(known.labels)]


def _scaled(values: Sequence[float], log: bool) -> list[float]:
    numbers = [math.log(value) if log else float(value) for value in values]
    low, high = min(numbers), max(numbers)
    return [(number - low) / (high - low) if high > low else 0.5 for number in numbers]


def _thinned(curve: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    step = math.ceil(len(curve) / _POINTS)
    return curve if step <= 1 else [*curve[:-1:step], curve[-1]]
