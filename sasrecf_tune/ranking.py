"""Trials to ordered rows; pure functions. Nothing here ever sees a test metric."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

COMPLETE = "complete"
PRUNED = "pruned"
FAILED = "failed"
RUNNING = "running"
WAITING = "waiting"
ENDED = (COMPLETE, PRUNED, FAILED)


@dataclass(frozen=True)
class TrialRecord:
    """One trial as the study holds it. `score` is the best validation value of the study's metric."""

    number: int
    state: str  # complete, pruned, failed, running or waiting
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
    if record.state == COMPLETE and record.score is not None and math.isfinite(record.score):
        return 0
    return 1 if record.state == PRUNED else 2


def _place(record: TrialRecord, maximize: bool) -> tuple[int, float, int]:
    badness = math.inf
    if record.score is not None and math.isfinite(record.score):
        badness = -record.score if maximize else record.score
    return _group(record), badness, record.number
