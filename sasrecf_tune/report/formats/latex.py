"""The ranking as a LaTeX table for a paper (booktabs)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sasrecf_tune.analysis.confirmation import Confirmation, Estimate, Verdict, on_test
from sasrecf_tune.inputs.metrics import Metric, parse_metric
from sasrecf_tune.report.choice_text import PREDICTED, has_predictions, predicted_text
from sasrecf_tune.report.confirmation_text import heading, sentences
from sasrecf_tune.report.text import parameter_cells
from sasrecf_tune.trials import LISTED, Row, score_text

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "±": r"$\pm$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def ranking_latex(
    rows: Sequence[Row],
    names: Sequence[str],
    metric_keys: Sequence[str],
    metric: Metric,
    study: str,
    model: str,
    data: str,
) -> str:
    """Return a table of the ranked trials: parameters, then validation metrics, `metric` first.

    The best of each metric is bold, the second underlined. Pruned and failed trials are not comparable and
    left out; a comment counts them.
    """
    ranked = [row for row in rows if row.rank is not None]
    keys = sorted(metric_keys, key=lambda key: key != metric.key)
    marks = [
        marked([row.record.valid.get(key) for row in ranked], parse_metric(key).maximize, metric.decimals)
        for key in keys
    ]
    lines = ["% \\usepackage{booktabs}"]
    for state in LISTED:
        count = sum(row.rank is None and row.record.state == state for row in rows)
        if count:
            lines.append(f"% {count} {state} without a rank, left out")
    if imported := sum(bool(row.record.imported) for row in ranked):
        lines.append(f"% {imported} of the trials were imported from earlier searches")
    predicted = has_predictions(ranked)
    by = f"the {latex(str(metric))} that is predicted for any seed" if predicted else latex(str(metric))
    caption = (
        f"{latex(model)} on {latex(data)}: trials of the study {latex(study)}, ranked by "
        f"{by} on the validation set. Best bold, second underlined."
    )
    lines += latex_table(
        caption,
        names,
        [*([PREDICTED] if predicted else []), *(str(parse_metric(key)) for key in keys)],
        [
            (
                str(row.rank),
                row.record.params,
                [
                    *([latex(predicted_text(row.record, metric))] if predicted else []),
                    *(mark[place] for mark in marks),
                ],
            )
            for place, row in enumerate(ranked)
        ],
    )
    return "\n".join([*lines, ""])


def confirmed_latex(
    confirmation: Confirmation, verdict: Verdict, names: Sequence[str], metric: Metric, model: str, data: str
) -> str:
    """Return a table of the confirmation: mean and standard deviation, on validation and on test.

    The best mean of each is bold, the second underlined.
    """
    tests = [on_test(confirmation, verdict, place.trial).get(metric.key) for place in verdict.places]
    columns: list[tuple[str, list[Estimate | None]]] = [
        (f"valid {metric}", [place.score for place in verdict.places])
    ]
    columns += [(f"test {metric}", tests)] if any(tests) else []
    means = [[None if e is None else e.mean for e in estimates] for _, estimates in columns]
    marks = [marked(values, metric.maximize, metric.decimals) for values in means]
    names = [name for name in names if name != "seed"]
    caption = (
        f"{latex(model)} on {latex(data)}: {latex(heading(confirmation, str(metric)))}. Mean and standard "
        f"deviation; best bold, second underlined. {latex(' '.join(sentences(confirmation, verdict)))}"
    )
    rows: list[tuple[str, Mapping[str, Any], list[str]]] = []
    for index, place in enumerate(verdict.places):
        cells: list[str] = []
        for (_, estimates), mark in zip(columns, marks, strict=True):
            estimate = estimates[index]
            cells += [mark[index], metric.text(None if estimate is None else estimate.sd)]
        rows.append((str(index + 1), confirmation.configurations[place.trial], cells))
    headers = [header for name, _ in columns for header in (name, "sd")]
    return "\n".join([*latex_table(caption, names, headers, rows), ""])


def latex_table(
    caption: str,
    names: Sequence[str],
    headers: Sequence[str],
    rows: Iterable[tuple[str, Mapping[str, Any], Sequence[str]]],
) -> list[str]:
    """Return the lines of a table.

    Args:
        names: Parameters to show.
        headers: Of the columns after the parameters.
        rows: Rank, parameters, and the LaTeX of the columns after them.
    """
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\begin{{tabular}}{{r{'l' * len(names)}{'r' * len(headers)}}}",
        r"\toprule",
        _line(["rank", *map(latex, names), *map(latex, headers)]),
        r"\midrule",
    ]
    for rank, params, measured in rows:
        cells = map(latex, parameter_cells(params, names))
        lines.append(_line([rank, *cells, *measured]))
    return [*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]


def latex(text: str) -> str:
    """Escape LaTeX's special characters in `text`."""
    return "".join(_SPECIAL.get(character, character) for character in " ".join(text.splitlines()))


def marked(values: Sequence[float | None], maximize: bool, decimals: int) -> list[str]:
    """Return each value as a cell, the best bold and the second best underlined; equal ones alike."""
    texts = [score_text(v, decimals) if v is not None and math.isfinite(v) else "--" for v in values]
    # Compared as printed, so that values that look equal are marked alike.
    order = sorted({float(text) for text in texts if text != "--"}, reverse=maximize)
    styles = {
        score_text(value, decimals): style
        for value, style in zip(order, (r"\textbf", r"\underline"), strict=False)
    }
    return [f"{styles[text]}{{{text}}}" if text in styles else text for text in texts]


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
