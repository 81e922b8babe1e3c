"""Records of trials and their ranking. A record has no test metric, so that nothing is selected on one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """The state of a trial; tables and files show its value."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    PAUSED = "paused"
    FAILED = "failed"
    RUNNING = "running"
    WAITING = "waiting"


ENDED = (State.COMPLETE, State.PRUNED, State.FAILED)
# Those with results to show.
LISTED = (State.COMPLETE, State.PRUNED, State.PAUSED, State.FAILED)
# Spreadsheets take a cell that begins with one of these for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Prediction:
    """The final score of a configuration on any seed, and its standard deviation, predicted by all curves."""

    mean: float
    deviation: float


@dataclass(frozen=True)
class TrialRecord:
    """A trial of a study.

    Args:
        params: Its parameters as RecBole reads them.
        score: The best validation value of the study's metric.
        valid: All validation metrics of the best epoch.
        weights: Trainable parameters of the model; 0 if not recorded.
        predicted: Its final score, as the search predicts it; None if it does not.
        imported: The earlier search that it was imported from; "" if it was trained in the study.
        provisional: Whether it was imported and ranks after all trials that completed in the study.
    """

    number: int
    state: State
    params: dict[str, Any]
    score: float | None = None
    seed: int | None = None
    epochs: int = 0
    best_epoch: int = 0
    seconds: float = 0.0
    valid: dict[str, float] = field(default_factory=dict)
    error: str = ""
    weights: int = 0
    predicted: Prediction | None = None
    imported: str = ""
    provisional: bool = False

    @property
    def state_text(self) -> str:
        """The state in a table: that of an imported trial is "imported"."""
        return "imported" if self.imported else self.state.value


@dataclass(frozen=True)
class Row:
    """A record and its rank, from 1; only completed trials with a finite score have one."""

    rank: int | None
    record: TrialRecord


def rank(records: Iterable[TrialRecord], maximize: bool) -> list[Row]:
    """Rank completed trials, best first; pruned, paused and failed ones follow, those with a NaN score last.

    Imported trials that are not trusted are ranked after those that completed in the study.

    The order is that of the predicted final scores, then of the scores; trials without a prediction follow
    those with one. Equal trials share a rank, in the order of their numbers. Ties are common, since RecBole
    rounds scores.
    """
    listed = [record for record in records if record.state in LISTED]
    ordered = sorted(listed, key=lambda record: _sort_key(record, maximize))
    rows: list[Row] = []
    for place, record in enumerate(ordered, start=1):
        if not is_ranked(record):
            rows.append(Row(None, record))
        elif rows and _sort_key(rows[-1].record, maximize)[:-1] == _sort_key(record, maximize)[:-1]:
            rows.append(Row(rows[-1].rank, record))
        else:
            rows.append(Row(place, record))
    return rows


def best(records: Iterable[TrialRecord], maximize: bool) -> TrialRecord | None:
    """The first completed trial of the ranking, if any."""
    rankable = filter(is_ranked, records)
    return min(rankable, key=lambda record: _sort_key(record, maximize), default=None)


def most_promising(records: Iterable[TrialRecord], maximize: bool) -> list[TrialRecord]:
    """The best completed trial, then other completed ones and paused ones by predicted final score.

    Paused trials without a prediction are left out. Without a completed trial there are none. Imported trials
    that are not trusted follow the others.
    """
    found = list(records)
    first = best(found, maximize)
    if first is None:
        return []
    others = [
        record
        for record in found
        if record is not first
        and (is_ranked(record) or (record.state == State.PAUSED and record.predicted is not None))
    ]
    return [first, *sorted(others, key=lambda record: (record.provisional, _costs(record, maximize)))]


def is_ranked(record: TrialRecord) -> bool:
    """Whether the trial has a rank: it is complete and has a finite score."""
    return record.state == State.COMPLETE and record.score is not None and math.isfinite(record.score)


def _group(record: TrialRecord) -> int:
    if is_ranked(record):
        return int(record.provisional)
    return {State.PRUNED: 2, State.PAUSED: 3}.get(record.state, 4)


def _sort_key(record: TrialRecord, maximize: bool) -> tuple[int, float, float, int]:
    return _group(record), *_costs(record, maximize)


def _costs(record: TrialRecord, maximize: bool) -> tuple[float, float, int]:
    predicted = None if record.predicted is None else record.predicted.mean
    return _cost(predicted, maximize), _cost(record.score, maximize), record.number


def _cost(score: float | None, maximize: bool) -> float:
    if score is None or not math.isfinite(score):
        return math.inf
    return -score if maximize else score


def cell_text(value: object) -> str:
    """A parameter's value in a table: lists without quotes, floats with six digits, outer spaces quoted."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(cell_text(inner) for inner in value) + "]"
    if isinstance(value, str) and value != value.strip():
        return repr(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def score_text(score: float | None, decimals: int) -> str:
    """A score with as many decimals as RecBole rounds to; "-" for None."""
    return "-" if score is None else f"{score:.{decimals}f}"


def value_order(value: object) -> tuple[int, float]:
    """Sort key of a parameter's values: numbers in ascending order, then everything else as it stands."""
    return (0, value) if isinstance(value, int | float) and not isinstance(value, bool) else (1, 0.0)
