"""A deterministic search policy: rounds of a few trials, whose better half goes on in each round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sasrecf_tune.search.policy import Curve, CurveState, Finish, Labels, SearchPolicy, Step


@dataclass(frozen=True)
class HalvingPolicy(SearchPolicy):
    """Trains each of the `cells` for an epoch, the better half of these for another, and so on in turns.

    In a round, each trial goes on by one epoch after the other, so that there are as many pauses as possible.
    The best trial is trained to its last epoch. Which trials go on, and how far, does not depend on the
    number of workers: a round begins when the last one is over.

    Args:
        cells: The configurations, as Optuna's labels.
        epochs: The last epoch of a trial.
    """

    cells: Sequence[Labels]
    epochs: int
    maximize: bool = True

    def next_step(self, curves: Sequence[Curve]) -> Step | Finish:
        known = {tuple(curve.labels.items()): curve for curve in curves}
        busy = {c.number for c in curves if c.state == CurveState.RUNNING and _last(c) < c.until}
        for cell in self.cells:
            if tuple(cell.items()) not in known:
                return Step(cell, 1)
        if any(_last(curve) == 0 for curve in curves if curve.state == CurveState.RUNNING):
            return Finish("the round is not over")
        alive = [curve for curve in curves if curve.state != CurveState.FAILED]
        for depth in range(2, self.epochs + 1):
            best = sorted(
                (curve for curve in alive if _last(curve) >= depth - 1),
                key=lambda curve: (-self._score(curve, depth - 1), curve.number),
            )
            kept = best[: max(1, len(self.cells) >> (depth - 1))]
            for curve in kept:
                if curve.state != CurveState.ENDED and _last(curve) < depth and curve.number not in busy:
                    return Step(curve.labels, depth, curve.number)
            if any(_last(curve) < depth and curve.state != CurveState.ENDED for curve in kept):
                return Finish("the round is not over")
        return Finish("the best trial is trained to its end")

    def _score(self, curve: Curve, epoch: int) -> float:
        return curve.scores.get(epoch, 0.0) * (1 if self.maximize else -1)


def _last(curve: Curve) -> int:
    return max(curve.scores, default=0)
