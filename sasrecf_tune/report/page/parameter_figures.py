"""The figures of the page that show the score by parameters, as Plotly JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

from sasrecf_tune.analysis.binning import binned
from sasrecf_tune.analysis.importance import Importance
from sasrecf_tune.analysis.numeric_study import is_logarithmic, numeric_study, plotly_text
from sasrecf_tune.analysis.report_data import ReportData
from sasrecf_tune.inputs.literals import is_number
from sasrecf_tune.report.page.figures import (
    Figure,
    FigureGroup,
    Json,
    axes,
    joined_lines,
    optuna_figure,
    score_range,
    whole_ticks,
)
from sasrecf_tune.trials import TrialRecord, cell_text

# Lines of parallel coordinates: more would cover each other.
_LINES = 200
# A numeric parameter with more values than this has an axis of numbers, not one of values.
_TICKS = 6
# So many of the most important parameters are drawn in pairs.
_PAIRED = 3
_RAMP = tuple(f"--ramp-{step}" for step in range(5))
_SCALE = [[step / (len(_RAMP) - 1), color] for step, color in enumerate(_RAMP)]


def parameter_figures(data: ReportData, importance: Importance | None) -> list[FigureGroup]:
    """Return the figures of single parameters, of pairs, and of all parameters together."""
    names = data.varied_among_ranked
    if not names:
        return []
    text = "One point per completed trial; later trials have a stronger color."
    groups = [FigureGroup("Score by parameter", _slices(data, names), text, "many")]
    if importance is not None and len(names) > 1:
        pairs = _contours(data, list(importance.shares)[:_PAIRED])
        text = "Pairs of the most important parameters. Cells without a trial are interpolated."
        groups.append(FigureGroup("Two parameters together", pairs, text, "many"))
    groups.append(FigureGroup("All parameters together", [_parallel(data, names)], layout="one"))
    return groups


def _slices(data: ReportData, names: Sequence[str]) -> list[Figure]:
    """Optuna's slice plot of each parameter."""
    import optuna

    study = numeric_study(data.ranked, names, data.space, data.metric.maximize)
    best, metric = data.ranked[0], data.metric
    opacity = max(0.2, min(0.75, 100 / len(data.ranked)))
    figures = []
    for name in names:
        (trace,), layout = optuna_figure(
            optuna.visualization.plot_slice(study, params=[name], target_name=str(metric)), 1
        )
        trace["marker"] |= {"colorscale": _SCALE, "showscale": False, "opacity": opacity, "size": 7}
        trace["marker"]["line"]["color"] = "--surface"
        trace["hovertemplate"] = f"{plotly_text(name)} %{{x}}: %{{y:.{data.metric.decimals}f}}<extra></extra>"
        values = [record.params[name] for record in sorted(data.ranked, key=lambda r: r.number)]
        if not all(map(is_number, values)):
            # Optuna puts quotes around words.
            trace["x"] = [plotly_text(cell_text(value)) for value in values]
            layout["xaxis"] = {"title": layout["xaxis"]["title"], "type": "category"}
        elif len(set(values)) <= _TICKS:
            ticks = sorted(set(values))
            layout["xaxis"] |= {"tickvals": ticks, "ticktext": [cell_text(value) for value in ticks]}
        elif all(isinstance(value, int) for value in values) and "type" not in layout["xaxis"]:
            layout["xaxis"] |= whole_ticks(values)
        else:
            layout["xaxis"]["exponentformat"] = "e"
        layout["yaxis"] |= score_range((record.score for record in data.ranked), metric)
        text = f"{metric} by {name}: the best, {metric.text(best.score)}, has {cell_text(best.params[name])}."
        figures.append(Figure(f"slice-{name}", name, text, [trace], layout, height=260))
    return figures


def _contours(data: ReportData, names: Sequence[str]) -> list[Figure]:
    """The mean score of two parameters' values together, for each pair of `names`."""
    count = max(3, min(5, round(math.sqrt(len(data.ranked)) / 1.5)))
    z = f"%{{z:.{data.metric.decimals}f}}"
    figures = []
    for first, second in combinations(names, 2):
        across, up = (binned(name, data.ranked, _TICKS, count) for name in (first, second))
        scores: dict[tuple[int, int], list[float]] = {}
        for record in data.ranked:
            cell = (up.level_of[record.number], across.level_of[record.number])
            scores.setdefault(cell, []).append(float(record.score or 0.0))
        means = {cell: sum(values) / len(values) for cell, values in scores.items()}
        cells = [[(row, column) for column in range(len(across.labels))] for row in range(len(up.labels))]
        trace = {
            "x": [plotly_text(label) for label in across.labels],
            "y": [plotly_text(label) for label in up.labels],
            "z": [[means.get(cell) for cell in line] for line in cells],
            "customdata": [[len(scores.get(cell, [])) for cell in line] for line in cells],
            "colorscale": _SCALE,
            "reversescale": not data.metric.maximize,
            "colorbar": {"thickness": 12, "outlinewidth": 0},
            "hovertemplate": f"%{{x}}, %{{y}}: mean {z} of %{{customdata}} trials<extra></extra>",
        }
        if min(len(across.labels), len(up.labels)) > 3:
            trace |= {"type": "contour", "connectgaps": True, "line": {"width": 0.5, "color": "--surface"}}
        else:
            trace |= {"type": "heatmap", "texttemplate": z, "xgap": 2, "ygap": 2}
        layout = axes(first, second)
        layout["xaxis"]["type"] = layout["yaxis"]["type"] = "category"
        row, column = (max if data.metric.maximize else min)(means, key=lambda cell: means[cell])
        where = f"{first} {across.labels[column]} with {second} {up.labels[row]}"
        mean = data.metric.text(means[row, column])
        text = f"Mean {data.metric} of completed trials; the best, {mean}, of {where}."
        key = f"contour-{first}-{second}"
        figures.append(Figure(key, f"{first} and {second}", text, [trace], layout, height=320))
    return figures


def _parallel(data: ReportData, names: Sequence[str]) -> Figure:
    """Parallel coordinates: a line for each of the best completed trials, colored by its rank.

    Not Optuna's plot, which makes a trace of each trial: a browser takes seconds for 1,000 of them.
    """
    ranked, metric = data.ranked[:_LINES], str(data.metric)
    scores = [float(record.score or 0.0) for record in ranked]
    score_ticks = [(0.0, data.metric.text(min(scores))), (1.0, data.metric.text(max(scores)))]
    columns = [*(_axis(name, ranked, data) for name in names), (_scaled(scores, False), score_ticks)]
    places = list(range(len(columns)))

    def lines(indices: Sequence[int]) -> Json:
        trace = joined_lines(
            [
                (
                    f"trial {ranked[index].number}: {data.metric.text(ranked[index].score)}",
                    places,
                    [heights[index] for heights, _ in columns],
                )
                for index in indices
            ]
        )
        return trace | {"hovertemplate": "%{text}<extra></extra>", "showlegend": False}

    # The worst first, so that the best lie on top.
    parts = min(len(_RAMP), len(ranked))
    traces = []
    for part in range(parts):
        bounds = [len(ranked) * (parts - part - back) // parts for back in (1, 0)]
        color = _RAMP[part + len(_RAMP) - parts]
        traces.append(lines(range(*bounds)) | {"line": {"color": color, "width": 1.2}, "opacity": 0.6})
    traces.append(lines([0]) | {"line": {"color": "--best", "width": 3}})
    rule = {"type": "line", "y0": 0, "y1": 1, "line": {"color": "--muted", "width": 1}}
    label_style = {
        "showarrow": False,
        "bgcolor": "--veil",
        "font": {"size": 11},
        "xanchor": "left",
        "xshift": 4,
    }
    shown = [*names, metric]
    layout = {
        "shapes": [rule | {"x0": place, "x1": place} for place in places],
        "annotations": [
            {"x": place, "y": at, "text": plotly_text(label[:16]), **label_style}
            for place, (_, ticks) in enumerate(columns)
            for at, label in ticks
        ],
        "xaxis": {
            "tickvals": places,
            # A long name has two lines.
            "ticktext": [plotly_text(name).replace("_", "_<br>", len(name) > 12) for name in shown],
            "range": [-0.02, len(shown) - 0.98],
            "showgrid": False,
            "showline": False,
            "zeroline": False,
            "side": "top",
        },
        "yaxis": {"visible": False, "range": [-0.06, 1.06]},
        "margin": {"l": 50, "r": 56, "t": 12, "b": 10},
    }
    which = f"the best {len(ranked):,}" if len(ranked) < len(data.ranked) else f"{len(ranked):,}"
    text = (
        f"One line for each of {which} completed trials, through its parameters to {metric} on the right; "
        f"better trials have a stronger color. The best is trial {ranked[0].number}."
    )
    return Figure("parallel", "Parallel coordinates", text, traces, layout, 420, 100 * len(shown))


def _axis(
    name: str, ranked: Sequence[TrialRecord], data: ReportData
) -> tuple[list[float], list[tuple[float, str]]]:
    """Return the height (0 to 1) at which each trial crosses the axis, and the ticks (height, label)."""
    values = [record.params[name] for record in ranked]
    if all(map(is_number, values)) and len(set(values)) > _TICKS:
        log = is_logarithmic(name, values, data.space)
        return _scaled(values, log), [(0.0, f"{min(values):.3g}"), (1.0, f"{max(values):.3g}")]
    levels = binned(name, ranked)
    step = 1 / max(1, len(levels.labels) - 1)
    # Lines through one value lie beside each other, not on each other.
    spread = min(0.08, step / 3)
    crossings = [
        min(
            1.0,
            max(0.0, levels.level_of[record.number] * step + spread * (record.number * 0.618034 % 1 - 0.5)),
        )
        for record in ranked
    ]
    return crossings, [(index * step, label) for index, label in enumerate(levels.labels)]


def _scaled(values: Sequence[float], log: bool) -> list[float]:
    numbers = [math.log(value) if log else float(value) for value in values]
    low, high = min(numbers), max(numbers)
    return [(number - low) / (high - low) if high > low else 0.5 for number in numbers]
