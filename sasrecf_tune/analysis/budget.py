"""Training time by state, and the Pareto front of score and cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sasrecf_tune.trials import LISTED, TrialRecord


@dataclass(frozen=True)
class Share:
    """What the trials in one state took; `part` is their share of all seconds (0 to 1)."""

    state: str
    trials: int
    epochs: int
    seconds: float
    part: float


def budget(records: Sequence[TrialRecord]) -> list[Share]:
    """Return the share of each state; failed attempts that were retried are not counted."""
    listed = [record for record in records if record.state in LISTED]
    total = sum(record.seconds for record in listed)
    shares = []
    for state in LISTED:
        if trials := [record for record in listed if record.state == state]:
            seconds = sum(record.seconds for record in trials)
            epochs = sum(record.epochs for record in trials)
            shares.append(Share(state, len(trials), epochs, seconds, seconds / total if total else 0.0))
    return shares


def pareto(
    ranked: Sequence[TrialRecord], cost: Callable[[TrialRecord], float], maximize: bool
) -> list[TrialRecord]:
    """Return the Pareto front of score and cost, the cheapest trial first.

    Of trials that are equal in both, it has the first of `ranked` only.
    """
    sign = 1 if maximize else -1
    front: list[TrialRecord] = []
    by_cost = sorted(ranked, key=lambda record: (cost(record), -sign * (record.score or 0.0)))
    for record in by_cost:
        if not front or sign * (record.score or 0.0) > sign * (front[-1].score or 0.0):
            front.append(record)
    return front
