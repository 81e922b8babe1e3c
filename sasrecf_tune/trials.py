"""Trials to ordered rows; pure functions. Nothing here ever sees a test metric."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """The state of a trial, as tables and files show it."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    RUNNING = "running"
    WAITING = "waiting"


ENDED = (State.COMPLETE, State.PRUNED, State.FAILED)


@dataclass(frozen=True)
class TrialRecord:
    """One trial as the study holds it. `score` is the best validation value of the study's metric."""

    number: int
    state: State
    params: dict[str, Any]  # RecBole values
    score: float | None = None
    seed: int | None = None
    epochs: int = 0
    best_epoch: int = 0
    seconds: float = 0.0
    valid: dict[str, float] = field(default_factory=dict)
    error: str = ""
    weights: int = 0  # trainable numbers of the model; 0 where not recorded


@dataclass(frozen=True)
class Row:
    """A record and its place; only completed trials with a finite score have a `rank` (from 1)."""

    rank: int | None
    record: TrialRecord


def rank(records: Iterable[TrialRecord], maximize: bool) -> list[Row]:
    """Completed trials best first, below them pruned ones, then those with NaN and failed ones.

    Equal scores share a rank and stand in the order of their numbers: RecBole rounds scores to four
    decimals, so ties are common and the order among them means nothing.
    """
    ended = [record for record in records if record.state in ENDED]
    ordered = sorted(ended, key=lambda record: _place(record, maximize))
    rows: list[Row] = []
    for place, record in enumerate(ordered, start=1):
        if _group(record) != 0:
            rows.append(Row(None, record))
        elif rows and rows[-1].record.score == record.score:
            rows.append(Row(rows[-1].rank, record))
        else:
            rows.append(Row(place, record))
    return rows


def best(records: Iterable[TrialRecord], maximize: bool) -> TrialRecord | None:
    """The first completed trial of the ranking, None when there is none."""
    rankable = (record for record in records if _group(record) == 0)
    return min(rankable, key=lambda record: _place(record, maximize), default=None)


def _group(record: TrialRecord) -> int:
    if record.state == State.COMPLETE and record.score is not None and math.isfinite(record.score):
        return 0
    return 1 if record.state == State.PRUNED else 2


def _place(record: TrialRecord, maximize: bool) -> tuple[int, float, int]:
    badness = math.inf
    if record.score is not None and math.isfinite(record.score):
        badness = -record.score if maximize else record.score
    return _group(record), badness, record.number


def cell_text(value: object) -> str:
    """A parameter's value in a table: lists without quotes, numbers as short as they are exact."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(cell_text(inner) for inner in value) + "]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def score_text(score: float | None) -> str:
    """Four decimals, as RecBole rounds; a dash for none."""
    return "-" if score is None else f"{score:.4f}"


def value_order(value: object) -> tuple[int, float]:
    """Sort key of a parameter's values: numbers in ascending order, then everything else as it stands."""
    return (0, value) if isinstance(value, int | float) and not isinstance(value, bool) else (1, 0.0)
