"""What a trial that has not ended would have come to, judged by those that have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sasrecf_tune.coordinates import Coordinates

if TYPE_CHECKING:
    from optuna.study import Study

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Forecast:
    """Of trials, each [trials]: the best score at the end, and by how much it may differ from that.

    `deviation` is a standard deviation.
    """

    best: Floats
    deviation: Floats


class Extrapolation:
    """Predicts the best score that a trial would end with from its best so far.

    The gain still to come is the mean of what completed trials gained after the same epoch, weighted by how
    alike their parameters are. How much like ones differ in that says how sure it is; how much all do counts
    as one more of them, since a single like one would seem to be certain.
    """

    def __init__(self, coordinates: Coordinates) -> None:
        self._coordinates = coordinates
        self._points: dict[int, list[float]] = {}
        self._complete: tuple[int, Floats, Floats] = (0, np.empty((0, 0)), np.empty((0, 0)))

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
        points, curves = self._known(complete, sign)
        epochs = np.array([one.last_step or 1 for one in trials])
        finals = curves[:, -1]
        reached = curves[:, np.minimum(epochs, curves.shape[1]) - 1].T  # [trials, complete]
        # A trial that is evaluated less often has nothing to say about the epochs before its first.
        known = np.isfinite(reached)
        gains = np.where(known, finals - np.where(known, reached, 0.0), 0.0)
        distance = ((self.points(trials)[:, None, :] - points[None, :, :]) ** 2).sum(axis=2)
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
        if not complete:
            return others, _best_so_far(others, sign)
        finals = self._known(complete, sign)[1][:, -1]
        if not others:
            return complete, finals
        return [*complete, *others], np.concatenate([finals, self.forecast(others, complete, sign).best])

    def _known(self, complete: Sequence[FrozenTrial], sign: int) -> tuple[Floats, Floats]:
        """Points [complete, d], and the best score by each epoch [complete, epochs]; the last one goes on."""
        if self._complete[0] != len(complete):
            longest = max(one.last_step or 1 for one in complete)
            curves = np.full((len(complete), longest), -np.inf)
            for row, one in zip(curves, complete, strict=True):
                for epoch, value in one.intermediate_values.items():
                    row[epoch - 1] = sign * value
            curves = np.maximum.accumulate(curves, axis=1)
            self._complete = len(complete), self.points(complete), curves
        return self._complete[1], self._complete[2]


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
