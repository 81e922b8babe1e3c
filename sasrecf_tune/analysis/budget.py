"""What a search spent, and what quality costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sasrecf_tune.trials import ENDED, TrialRecord


@dataclass(frozen=True)
class Share:
    """What trials in one state took: how many, epochs, seconds, and the part of all seconds (0 to 1)."""

    state: str
    trials: int
    epochs: int
    seconds: float
    part: float


def budget(records: Sequence[TrialRecord]) -> list[Share]:
    """One for each state that trials have ended in; failed attempts that were tried again are not counted."""
    ended = [record for record in records if record.state in ENDED]
    whole = sum(record.seconds for record in ended)
    shares = []
    for state in ENDED:
        some = [record for record in ended if record.state == state]
        if some:
            seconds = sum(record.seconds for record in some)
            epochs = sum(record.epochs for record in some)
            shares.append(Share(state, len(some), epochs, seconds, seconds / whole if whole else 0.0))
    return shares


def pareto(
    ranked: Sequence[TrialRecord], cost: Callable[[TrialRecord], float], maximize: bool
) -> list[TrialRecord]:
    """Trials that no other beats in score without costing more, the cheapest first.

    Of trials that are equal in both the first of `ranked` stands for all.
    """
    sign = 1 if maximize else -1
    front: list[TrialRecord] = []
    by_cost = sorted(ranked, key=lambda record: (cost(record), -sign * (record.score or 0.0)))
    for record in by_cost:
        if not front or sign * (record.score or 0.0) > sign * (front[-1].score or 0.0):
            front.append(record)
    return front
