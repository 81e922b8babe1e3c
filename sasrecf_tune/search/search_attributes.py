"""How Optuna's database stores what the default search has found."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, NotRequired, TypedDict

import msgspec
from msgspec import Meta

from sasrecf_tune.analysis.search_summary import SearchSummary
from sasrecf_tune.storage.database.errors import CorruptStudyError
from sasrecf_tune.trials import Prediction, TrialRecord, is_ranked

# User attribute of the study, as `_Summary`.
SUMMARY = "sasrecf_tune:search_end"
# So many trials have a prediction: databases limit the size of an attribute.
_MOST_PREDICTIONS = 100
_DIGITS = 8
_Count = Annotated[int, Meta(ge=0, le=2**53)]


class _Summary(TypedDict):
    """A `SearchSummary`; a prediction is (trial, mean, standard deviation)."""

    predictions: Annotated[list[tuple[_Count, float, float]], Meta(max_length=10 * _MOST_PREDICTIONS)]
    completed: _Count
    regret: float
    seed_deviation: float
    untried: _Count | None
    untried_gain: float | None
    share: NotRequired[float]  # 1 if missing, as in studies of before


def shortened(summary: SearchSummary, records: Sequence[TrialRecord], maximize: bool) -> SearchSummary:
    """The summary as it is recorded: predictions of completed trials are kept before others, then the best.

    Args:
        records: All trials of the study.
        maximize: Whether larger scores are better.
    """
    complete = {record.number for record in records if is_ranked(record)}
    kept = heapq.nlargest(
        _MOST_PREDICTIONS,
        summary.predictions.items(),
        key=lambda one: (one[0] in complete, one[1].mean if maximize else -one[1].mean),
    )
    return replace(summary, predictions=dict(kept), completed=len(complete))


def summary_attribute(summary: SearchSummary) -> dict[str, Any]:
    """The summary as JSON."""
    return {
        "predictions": [
            [number, _short(one.mean), _short(one.deviation)] for number, one in summary.predictions.items()
        ],
        "completed": summary.completed,
        "regret": _short(summary.regret),
        "seed_deviation": _short(summary.seed_deviation),
        "untried": summary.untried,
        "untried_gain": None if summary.untried_gain is None else _short(summary.untried_gain),
        "share": _short(summary.share),
    }


def read_summary(attribute: object) -> SearchSummary | None:
    """Read a summary, which may be from somebody else; None if there is none.

    Raises:
        CorruptStudyError: sasrecf-tune cannot have written it.
    """
    if attribute is None:
        return None
    try:
        found = msgspec.convert(attribute, _Summary)
    except (msgspec.ValidationError, UnicodeError) as error:
        raise CorruptStudyError(f"{SUMMARY} is invalid: {error}") from error
    share = found.get("share", 1.0)
    amounts = [found["regret"], found["seed_deviation"], found["untried_gain"] or 0.0, share]
    amounts += [deviation for _, _, deviation in found["predictions"]]
    means = [mean for _, mean, _ in found["predictions"]]
    if not (all(map(math.isfinite, amounts + means)) and all(amount >= 0 for amount in amounts)):
        raise CorruptStudyError(f"{SUMMARY} has a number that is negative or not finite")
    return SearchSummary(
        {number: Prediction(mean, deviation) for number, mean, deviation in found["predictions"]},
        found["completed"],
        found["regret"],
        found["seed_deviation"],
        found["untried"],
        found["untried_gain"],
        share,
    )


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
