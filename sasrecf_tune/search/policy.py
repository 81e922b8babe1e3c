"""What a search policy is asked, and what it answers."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from sasrecf_tune.analysis.search_summary import SearchSummary
from sasrecf_tune.inputs.literals import Scalar

Labels = dict[str, Scalar]  # the parameters of a trial as Optuna stores them


class CurveState(enum.Enum):
    """The state of a trial, as far as a policy is concerned.

    ENDED: trained to its end, by the number of epochs or by early stopping. PRUNED: stopped for good before
    that, by a pruner of an earlier run.
    """

    RUNNING = "running"
    PAUSED = "paused"
    ENDED = "ended"
    PRUNED = "pruned"
    FAILED = "failed"


@dataclass(frozen=True)
class Curve:
    """The learning curve of one trial.

    Attributes:
        number: The trial.
        labels: Its parameters as Optuna's labels (`SearchSpace.encode`).
        scores: The validation score after each epoch, which counts from 1.
        until: Of a running trial: the epoch at which the policy is asked again.
        checkpoint: Of a paused trial: the epoch after which it would go on; 0 if it would begin anew.
        seconds: The time of training that `scores` took; 0 if it is not known.
        imported: Whether it was trained elsewhere, and does not count among the trials that have begun.
        provisional: Whether it is imported and its configuration may be trained as if it had no trial.
    """

    number: int
    labels: Labels
    scores: Mapping[int, float]
    state: CurveState
    until: int = 0
    checkpoint: int = 0
    seconds: float = 0.0
    imported: bool = False
    provisional: bool = False


def count_begun(curves: Sequence[Curve]) -> int:
    """How many of the trials have begun in the study."""
    return sum(not curve.imported for curve in curves)


@dataclass(frozen=True)
class Step:
    """Train a configuration up to the epoch `until`.

    Attributes:
        number: The trial that goes on: a paused one, or a running one that has reached its `until`. None for
            a new trial with these `labels`.
        seconds: The time that it is expected to take; 0 if that is not known.
    """

    labels: Labels
    until: int
    number: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Finish:
    """Nothing is worth starting any more; running trials go on to their `until`.

    Attributes:
        reason: Why, for the last line of the run.
        exhausted: Whether nothing is left to train: the space is covered, or no trial may begin.
    """

    reason: str
    exhausted: bool = False


class SearchPolicy(Protocol):
    """Decides which trial is trained next, and up to which epoch."""

    def next_step(self, curves: Sequence[Curve]) -> Step | Finish:
        """Return the next step: a function of `curves` and the policy's seed.

        A trial that has just reported at its `until` is among the running ones. A step with its number
        continues it; with any other answer it is paused. Other running trials must not be named.
        """

    def final_step(self, curves: Sequence[Curve]) -> Step | Finish:
        """Return the step that trains the best of the trials to its end; `Finish` if there is none to give.

        It is asked in place of `next_step` when a limit of the search is near.
        """
        return self.next_step(curves)


@runtime_checkable
class PredictingPolicy(SearchPolicy, Protocol):
    """A policy that predicts final scores."""

    def summarize(self, curves: Sequence[Curve]) -> SearchSummary | None:
        """Predict the final scores of all trials, and what is still to be gained; None without a score."""
