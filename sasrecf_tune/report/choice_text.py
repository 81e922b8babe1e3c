"""What tables say of predicted scores, of the choice by these, and of what is still to be gained."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from sasrecf_tune.analysis.search_summary import SearchSummary
from sasrecf_tune.inputs.metrics import Metric
from sasrecf_tune.report.text import count_text
from sasrecf_tune.trials import Row, State, TrialRecord

# The title of a column of `predicted_text`.
PREDICTED = "predicted"


def has_predictions(rows: Iterable[Row]) -> bool:
    """Whether the table has a column of predicted scores."""
    return any(row.record.predicted is not None for row in rows)


def predicted_text(record: TrialRecord, metric: Metric) -> str:
    """Such as "0.0402 ± 0.0008"; empty without a prediction."""
    found = record.predicted
    return "" if found is None else f"{metric.text(found.mean)} ± {metric.text(found.deviation)}"


def choice_text(rows: Sequence[Row], metric: Metric) -> str:
    """Why the first of all `rows` is not the one with the best score; empty if it is."""
    first = rows[0] if rows else None
    if first is None or first.rank != 1 or first.record.predicted is None:
        return ""
    choice, expected = first.record, first.record.predicted
    scores = {r.record.number: r.record.score for r in rows if r.record.score is not None}
    scores = {number: score for number, score in scores.items() if math.isfinite(score)}
    number = (max if metric.maximize else min)(scores, key=lambda number: scores[number])
    if choice.score is None or metric.text(scores[number]) == metric.text(choice.score):
        return ""
    other = next(row.record for row in rows if row.record.number == number)
    start = f"Trial {number} has a better score ({metric.text(other.score)}) than trial {choice.number}, but"
    if other.state != State.COMPLETE:
        return f"{start} it was not trained to its end."
    if other.provisional:
        return f"{start} it was imported and not trained here."
    if other.predicted is None:
        return f"{start} it is not expected to be better."
    return (
        f"{start} by all learning curves it is expected to score {metric.text(other.predicted.mean)}, "
        f"and trial {choice.number} {metric.text(expected.mean)}."
    )


def regret_text(summary: SearchSummary, metric: Metric) -> str:
    """Such as "expected regret 0.41 of a standard deviation between seeds (0.0003 NDCG@10)"."""
    return (
        f"expected regret {summary.regret:.2f} of a standard deviation between seeds "
        f"({metric.text(summary.regret_in_metric)} {metric})"
    )


def untried_text(summary: SearchSummary, metric: Metric) -> str:
    """Such as "95 configurations not tried; the best of them is expected to bring nothing"; "" for none."""
    count, gain = summary.untried, summary.untried_gain_in_metric
    if count == 0:
        return ""
    many = "Infinitely many configurations" if count is None else count_text(count, "configuration")
    if gain is None:
        return f"{many} not tried, since no more trials may begin (--trials)"
    which = "it" if count == 1 else "the best of them"
    bring = f"{metric.text(gain)} {metric}" if float(metric.text(gain)) else "nothing"
    return f"{many} not tried; {which} is expected to bring {bring}"


def summary_content(summary: SearchSummary | None, rows: Sequence[Row], metric: Metric) -> dict[str, Any]:
    """The state of the search for JSON as the key `search_end`, {} where there is none."""
    if summary is None:
        return {}
    return {
        "search_end": {
            "regret": summary.regret,
            "regret_in_metric": summary.regret_in_metric,
            "seed_deviation": summary.seed_deviation,
            "untried": summary.untried,
            "untried_gain": summary.untried_gain,
            "untried_gain_in_metric": summary.untried_gain_in_metric,
            "why": choice_text(rows, metric) or None,
        }
    }
