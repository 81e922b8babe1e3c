"""What a search policy is asked, and what it answers."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sasrecf_tune.inputs.literals import Scalar

Labels = dict[str, Scalar]  # the parameters of a trial as Optuna stores them


class CurveState(enum.Enum):
    """What a trial does."""

    RUNNING = "running"
    PAUSED = "paused"
    ENDED = "ended"
    FAILED = "failed"


@dataclass(frozen=True)
class Curve:
    """One trial, as a policy sees it.

    Args:
        number: Of the trial.
        labels: Its parameters.
        scores: The validation score after each epoch, from 1, as recorded: a loss is not negated.
        state: A trial that has reached its `until` is RUNNING, with a score at `until` or later.
        until: RUNNING: the epoch at which the policy is asked again.
        checkpoint: PAUSED: the epoch after which it would go on; 0: it would begin anew.
        seconds: Of training, for `scores`; 0: not known.
    """

    number: int
    labels: Labels
    scores: Mapping[int, float]
    state: CurveState
    until: int = 0
    checkpoint: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Step:
    """Train a configuration up to the epoch `until`.

    Args:
        number: The trial that goes on: PAUSED, or RUNNING and at its `until`. None: a new trial.
    """

    labels: Labels
    until: int
    number: int | None = None


@dataclass(frozen=True)
class Finish:
    """Nothing is worth starting; trials that run go on to their `until`.

    Args:
        reason: For the last line of the run.
        exhausted: Whether the space is covered.
    """

    reason: str
    exhausted: bool = False


class SearchPolicy(Protocol):
    """Decides which configuration is trained next, and how far."""

    def next_step(self, curves: Sequence[Curve]) -> Step | Finish:
        """Decide what a free worker does.

        It depends on nothing but the curves and the policy's seed. A RUNNING trial at its `until` that the
        answer does not name is paused; other RUNNING trials are busy, and must not be named.
        """
        ...
