"""A comparison of studies as text: CSV, JSON, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sasrecf_tune.analysis.comparison import Comparison, Effort, Entry
from sasrecf_tune.analysis.confirmation import ALPHA
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.report.comparison_text import (
    budgets,
    heading,
    model_text,
    note,
    scores,
    sentences,
    warnings,
    winner,
)
from sasrecf_tune.report.formats.confirmation import estimate_content
from sasrecf_tune.report.formats.latex import latex, latex_table, marked
from sasrecf_tune.report.text import csv_line, json_text, markdown_table, markdown_text
from sasrecf_tune.report.user_differences_text import (
    SEEDS_QUESTION,
    USERS_QUESTION,
    has_users,
    user_group_tables,
    user_sentences,
    users_content,
)


def comparison_csv(comparison: Comparison) -> str:
    """Return a row for each study; a metric that it does not have is empty."""
    header = ["rank", "study", "model", "features", "confirmed", "trial", "seeds", "search_score"]
    columns = [(part, key) for part in ("valid", "test") for key in comparison.keys]
    header += [f"{part} {key}{what}" for part, key in columns for what in ("", " sd", " half_interval")]
    efforts = [
        f"{what}_{amount}" for what in ("search", "confirmation") for amount in ("runs", "epochs", "seconds")
    ]
    lines = [csv_line([*header, "weights", *efforts, "pruned", "failed", "confirmed_configurations"])]
    for rank, entry in enumerate(comparison.entries, start=1):
        cells: list[object] = [rank if entry.confirmed else None, entry.name, entry.model]
        cells += [" ".join(entry.features), entry.confirmed, entry.trial, len(entry.seeds), entry.score]
        for part, key in columns:
            estimate = entry.on(part, key)
            cells += [None] * 3 if estimate is None else [estimate.mean, estimate.sd, estimate.half_interval]
        cells.append(entry.weights or None)
        for effort in (entry.search, entry.confirmation):
            cells += [effort.runs, effort.epochs, round(effort.seconds, 3)]
        lines.append(csv_line([*cells, entry.pruned, entry.failed, entry.rivals]))
    return "".join(lines)


def comparison_json(comparison: Comparison) -> str:
    """Return everything, including the scores of each seed."""
    content = {
        "data": comparison.data,
        "metric": str(comparison.metric),
        "maximize": comparison.metric.maximize,
        "test": "Games-Howell",
        "alpha": ALPHA,
        "studies": [_entry(entry, comparison) for entry in comparison.entries],
        "differences": {
            part: [
                {
                    "better": difference.first.name,
                    "worse": difference.second.name,
                    "difference": difference.mean,
                    "half_interval": difference.half_interval,
                    "p": difference.p,
                    "tied": difference.tied,
                }
                for difference in differences
            ]
            for part, differences in comparison.differences.items()
        },
        **users_content(comparison),
        "sentences": [*sentences(comparison), *user_sentences(comparison)],
        "warnings": warnings(comparison),
    }
    return json_text(content, indent=2) + "\n"


def comparison_markdown(comparison: Comparison) -> str:
    """Return both tables, the sentences and the warnings."""
    parts = [
        f"{markdown_text(heading(comparison))}.\n\n",
        markdown_table(*scores(comparison)),
        "\n",
        markdown_table(*budgets(comparison)),
        "\n",
    ]
    lines = _told(comparison)
    lines += [f"Warning: {warning}" for warning in warnings(comparison)]
    lines += [f"{entry.name}: {winner(entry)}" for entry in comparison.entries]
    parts += [f"- {markdown_text(line)}\n" for line in lines]
    for title, headers, rows in user_group_tables(comparison):
        parts.append(f"\n{markdown_text(title)}:\n\n{markdown_table(headers, rows)}")
    return "".join([*parts, f"\n{note(comparison)}\n"])


def _told(comparison: Comparison) -> list[str]:
    """What both tests say, each after its question where there are two."""
    lines = sentences(comparison)
    if has_users(comparison):
        return [SEEDS_QUESTION, *lines, USERS_QUESTION, *user_sentences(comparison)]
    return lines


def comparison_latex(comparison: Comparison) -> str:
    """Return the means and standard deviations of confirmed studies: one validation metric, all test metrics.

    The best mean of each metric is bold, the second underlined. A comment names the studies left out.
    """
    entries = [entry for entry in comparison.entries if entry.confirmed]
    key = comparison.metric.key
    keys = sorted(comparison.keys, key=lambda name: name != key)
    columns = [("valid", key), *(("test", name) for name in keys)]
    columns = [(part, name) for part, name in columns if any(entry.on(part, name) for entry in entries)]
    cells: list[list[str]] = [[] for _ in entries]
    for part, name in columns:
        estimates = [entry.on(part, name) for entry in entries]
        means = [None if estimate is None else estimate.mean for estimate in estimates]
        marks = marked(means, parse_metric(name).maximize, comparison.metric.decimals)
        for row, estimate, mark in zip(cells, estimates, marks, strict=True):
            sd = None if estimate is None else estimate.sd
            row.append(mark if sd is None else rf"{mark} $\pm$ {comparison.metric.text(sd)}")
    caption = (
        f"{latex(heading(comparison))}. Mean $\\pm$ standard deviation over seeds of the best configuration "
        f"of each study; best bold, second underlined. {latex(' '.join(_told(comparison)))} "
        "Differences: $\\pm$ 95\\% intervals."
    )
    lines = ["% \\usepackage{booktabs}"]
    lines += [f"% warning: {' '.join(warning.splitlines())}" for warning in warnings(comparison)]
    lines += latex_table(
        caption,
        ["study", "model", "seeds"],
        [f"{part} {parse_metric(name)}" for part, name in columns],
        [
            (str(rank), {"study": entry.name, "model": model_text(entry), "seeds": len(entry.seeds)}, row)
            for rank, (entry, row) in enumerate(zip(entries, cells, strict=True), start=1)
        ],
    )
    return "\n".join([*lines, ""])


FORMATS: Mapping[str, Callable[[Comparison], str]] = {
    "csv": comparison_csv,
    "json": comparison_json,
    "latex": comparison_latex,
    "markdown": comparison_markdown,
}


def _entry(entry: Entry, comparison: Comparison) -> dict[str, Any]:
    return {
        "study": entry.name,
        "model": entry.model,
        "features": list(entry.features),
        "confirmed": entry.confirmed,
        "trial": entry.trial,
        "params": dict(entry.params),
        "weights": entry.weights or None,
        "search_score": entry.score,
        "seeds": list(entry.seeds),
        **{
            part: {
                name: estimate_content(estimate) | {"scores": list(entry.values(part, name))}
                for name in comparison.keys
                if (estimate := entry.on(part, name)) is not None
            }
            for part in ("valid", "test")
        },
        "search": _effort(entry.search)
        | {
            "paused": entry.paused,
            "pruned": entry.pruned,
            "failed": entry.failed,
            "planned": entry.planned,
            "imported": entry.imported,
        },
        "confirmation": _effort(entry.confirmation) | {"configurations": entry.rivals},
    }


def _effort(effort: Effort) -> dict[str, Any]:
    return {"runs": effort.runs, "epochs": effort.epochs, "seconds": round(effort.seconds, 3)}
