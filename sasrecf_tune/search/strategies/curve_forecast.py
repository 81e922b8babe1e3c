"""What a trial that has not ended would have come to, judged by those that have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sasrecf_tune.search.strategies.embedding import Embedding

if TYPE_CHECKING:
    from optuna.study import Study

Floats = NDArray[np.float64]

# Of trials that have no score, so many are given one, the best so far: each is compared to all completed.
_FORECAST = 1000
# So many at a time: what that takes of memory grows with the completed ones.
_AT_ONCE = 100


@dataclass(frozen=True)
class Forecast:
    """Of trials, each [trials]: the best score at the end, and by how much it may differ from that.

    `deviation` is a standard deviation.
    """

    best: Floats
    deviation: Floats


class CurveForecaster:
    """Predicts the best score that a trial would end with from its best so far.

    The gain still to come is the mean of what completed trials gained after the same epoch, weighted by how
    alike their parameters are. How much like ones differ in that says how sure it is; how much all do counts
    as one more of them, since a single like one would seem to be certain.
    """

    def __init__(self, coordinates: Embedding) -> None:
        self._coordinates = coordinates
        self._points: dict[int, list[float]] = {}
        self._complete: tuple[list[int], Floats, Floats] = ([], np.empty((0, 0)), np.empty((0, 0)))

    def points(self, trials: Sequence[FrozenTrial]) -> Floats:
        """[trials, d]: their coordinates."""
        for one in trials:
            if one.number not in self._points:
                self._points[one.number] = self._coordinates.of(one.params)
        return np.array([self._points[one.number] for one in trials])

    def forecast(self, trials: Sequence[FrozenTrial], complete: Sequence[FrozenTrial], sign: int) -> Forecast:
        """What the trials would end with, times `sign`.

        `trials` have reported at least once, and at least one trial is complete.
        """
        if len(trials) > _AT_ONCE:
            blocks = [trials[begin : begin + _AT_ONCE] for begin in range(0, len(trials), _AT_ONCE)]
            parts = [self.forecast(block, complete, sign) for block in blocks]
            best, deviation = (np.concatenate(column) for column in zip(*map(astuple, parts), strict=True))
            return Forecast(best, deviation)
        points, curves = self._known(complete, sign)
        epochs = np.array([one.last_step or 1 for one in trials])
        finals = curves[:, -1]
        reached = curves[:, np.minimum(epochs, curves.shape[1]) - 1].T  # [trials, complete]
        # A trial that is evaluated less often has nothing to say about the epochs before its first.
        known = np.isfinite(reached)
        gains = np.where(known, finals - np.where(known, reached, 0.0), 0.0)
        distance = _distance(self.points(trials), points)
        weights = np.where(known, np.exp(-0.5 * distance), 0.0)
        total = np.maximum(weights.sum(axis=1), 1e-12)
        gain = (weights * gains).sum(axis=1) / total
        spread = (weights * (gains - gain[:, None]) ** 2).sum(axis=1)
        variance = (spread + _variance(gains, known)) / (total + 1)
        # As of a mean of so many observations, and one more.
        deviation = np.where(known.any(axis=1), np.sqrt(variance * (1 + 1 / total)), np.inf)
        return Forecast(_best_so_far(trials, sign) + gain, deviation)

    def scores(self, trials: Sequence[FrozenTrial], sign: int) -> tuple[list[FrozenTrial], Floats]:
        """The trials that have a score, and those that have reported, with that or what it would be."""
        complete = [one for one in trials if one.state == TrialState.COMPLETE]
        others = [
            one
            for one in trials
            if one.state in (TrialState.PRUNED, TrialState.RUNNING) and one.intermediate_values
        ]
        if len(others) > _FORECAST:
            best = np.argsort(-_best_so_far(others, sign), kind="stable")[:_FORECAST]
            others = [others[index] for index in np.sort(best)]
        if not complete:
            return others, _best_so_far(others, sign)
        finals = self._known(complete, sign)[1][:, -1]
        if not others:
            return complete, finals
        return [*complete, *others], np.concatenate([finals, self.forecast(others, complete, sign).best])

    def _known(self, complete: Sequence[FrozenTrial], sign: int) -> tuple[Floats, Floats]:
        """Points [complete, d], and the best score by each epoch [complete, epochs]; the last one goes on."""
        numbers, points, curves = self._complete
        if len(numbers) != len(complete):
            seen = set(numbers)
            new = [one for one in complete if one.number not in seen]
            longest = max([curves.shape[1], *(one.last_step or 1 for one in new)])
            added = np.full((len(new), longest), -np.inf)
            for row, one in zip(added, new, strict=True):
                for epoch, value in one.intermediate_values.items():
                    row[epoch - 1] = sign * value
            added = np.maximum.accumulate(added, axis=1)
            if numbers:
                added = np.vstack([np.pad(curves, ((0, 0), (0, longest - curves.shape[1])), "edge"), added])
            # In the order of `complete`, in which they need not have come.
            place = {number: row for row, number in enumerate([*numbers, *(one.number for one in new)])}
            numbers = [one.number for one in complete]
            order = [place[number] for number in numbers]
            points, curves = self.points(complete), added[order]
            self._complete = numbers, points, curves
        return points, curves


def _distance(one: Floats, other: Floats) -> Floats:
    """[n, m]: squared distances of [n, d] and [m, d], coordinate by coordinate: no [n, m, d] is made."""
    distance = np.zeros((len(one), len(other)))
    for left, right in zip(one.T, other.T, strict=True):
        distance += (left[:, None] - right[None, :]) ** 2
    return distance


def _variance(gains: Floats, known: NDArray[np.bool_]) -> Floats:
    """[trials]: of the gains [trials, complete] that are known; 0 of a single one."""
    count = known.sum(axis=1)
    mean = gains.sum(axis=1) / np.maximum(count, 1)
    squares = np.where(known, (gains - mean[:, None]) ** 2, 0.0)
    variance: Floats = squares.sum(axis=1) / np.maximum(count - 1, 1)
    return variance


def _best_so_far(trials: Sequence[FrozenTrial], sign: int) -> Floats:
    return np.array([max(sign * value for value in one.intermediate_values.values()) for one in trials])


def sign_of(study: Study) -> int:
    """1 when more is better, else -1."""
    return 1 if study.direction == StudyDirection.MAXIMIZE else -1
