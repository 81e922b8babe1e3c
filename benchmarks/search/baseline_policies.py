"""Policies to compare with: whole trainings in random order, and ASHA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.search.simulator import best_score
from sasrecf_tune.inputs.literals import Scalar
from sasrecf_tune.search.policy import Curve, CurveState, Finish, SearchPolicy, Step


class RandomOrder(SearchPolicy):
    """Trains all cells to their end, in random order.

    Args:
        cells: All configurations.
        epochs: The last epoch.
        seed: Of the order.
        patience: End after this many trials in a row without a better score, as RecBole's `run_hyper.py`
            does; None to train all.
    """

    def __init__(
        self, cells: Sequence[dict[str, Scalar]], epochs: int, seed: int, patience: int | None = None
    ) -> None:
        self._order = _shuffled(cells, seed)
        self._epochs, self._patience = epochs, patience

    def next_step(self, curves: Sequence[Curve]) -> Step | Finish:
        """Return the next cell."""
        if self._patience is not None and _trials_since_best(curves) >= self._patience:
            return Finish(f"no better result in {self._patience} trials")
        if len(curves) == len(self._order):
            return Finish("the space is covered", exhausted=True)
        return Step(self._order[len(curves)], self._epochs)


class Asha(SearchPolicy):
    """Asynchronous successive halving whose paused trials go on when they are promoted.

    When nothing is left to begin or promote, the leading trial is trained to its end.

    Args:
        cells: All configurations.
        epochs: The last epoch.
        seed: Of the order in which they begin.
        first: The epoch of the first rung.
        factor: One of `factor` trials is promoted, and the next rung has `factor` times the epochs.

    Source:
        Li et al., "A system for massively parallel hyperparameter tuning", 2020.
    """

    def __init__(
        self, cells: Sequence[dict[str, Scalar]], epochs: int, seed: int, first: int = 1, factor: int = 3
    ) -> None:
        self._order = _shuffled(cells, seed)
        self._factor = factor
        self._rungs = [first]
        while self._rungs[-1] * factor < epochs:
            self._rungs.append(self._rungs[-1] * factor)
        self._rungs.append(epochs)

    def next_step(self, curves: Sequence[Curve]) -> Step | Finish:
        """Promote a trial, from the highest rung that has one, or begin a new one."""
        for low, high in reversed(list(zip(self._rungs, self._rungs[1:], strict=False))):
            on_rung = [one for one in curves if _has_reached(one, low)]
            on_rung.sort(key=lambda one: -_score_by(one, low))
            for one in on_rung[: len(on_rung) // self._factor]:
                if _can_go_on(one) and len(one.scores) < high:
                    return Step(dict(one.labels), high, one.number)
        if len(curves) < len(self._order):
            return Step(self._order[len(curves)], self._rungs[0])
        leader = self._leader(curves)
        if leader is not None and _can_go_on(leader):
            return Step(dict(leader.labels), self._rungs[-1], leader.number)
        return Finish("nothing is left to promote")

    def choose(self, curves: Sequence[Curve]) -> Mapping[str, Scalar] | None:
        """Return the best of the trials on the highest rung that has any."""
        leader = self._leader(curves)
        return None if leader is None else leader.labels

    def _leader(self, curves: Sequence[Curve]) -> Curve | None:
        for rung in reversed(self._rungs):
            on_rung = [one for one in curves if _has_reached(one, rung)]
            if on_rung:
                return max(on_rung, key=lambda one: _score_by(one, rung))
        return None


def _shuffled(cells: Sequence[dict[str, Scalar]], seed: int) -> list[dict[str, Scalar]]:
    order = np.random.default_rng(seed).permutation(len(cells))
    return [cells[at] for at in order]


def _trials_since_best(curves: Sequence[Curve]) -> int:
    best, since = -np.inf, 0
    for one in curves:
        if one.state is CurveState.ENDED:
            score = best_score(one)
            best, since = (score, 0) if score > best else (best, since + 1)
    return since


def _has_reached(curve: Curve, rung: int) -> bool:
    return bool(curve.scores) and (len(curve.scores) >= rung or curve.state is CurveState.ENDED)


def _score_by(curve: Curve, rung: int) -> float:
    return max(score for epoch, score in curve.scores.items() if epoch <= rung)


def _can_go_on(curve: Curve) -> bool:
    at_its_until = curve.state is CurveState.RUNNING and len(curve.scores) >= curve.until
    return at_its_until or curve.state is CurveState.PAUSED
