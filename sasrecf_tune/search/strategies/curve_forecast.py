"""Forecasts the final score of a trial from its learning curve so far and those of completed trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sasrecf_tune.search.strategies.parameter_vectors import Embedding

Floats = NDArray[np.float64]

# Of the trials without a final score, the best so many get a forecast, since each is compared with all
# completed trials.
_MAX_FORECASTS = 1000
# Forecasts of one block; a block needs memory for so many times all completed trials.
_BLOCK_SIZE = 100


@dataclass(frozen=True)
class Forecast:
    """The best score [trials] that each trial ends with, and its standard deviation [trials]."""

    best: Floats
    deviation: Floats


class CurveForecaster:
    """Forecasts the best score that a trial ends with.

    The forecast is the best score so far plus a gain: the weighted mean of what completed trials gained after
    the same epoch, where trials with similar parameters have large weights. The deviation follows from the
    weighted variance of these gains. The variance of all gains counts as one more observation: else a single
    similar trial would seem certain.
    """

    def __init__(self, embedding: Embedding) -> None:
        self._embedding = embedding
        self._points: dict[int, list[float]] = {}
        self._complete: tuple[list[int], Floats, Floats] = ([], np.empty((0, 0)), np.empty((0, 0)))

    def points(self, trials: Sequence[FrozenTrial]) -> Floats:
        """The parameters of the trials as points [trials, d]."""
        for trial in trials:
            if trial.number not in self._points:
                self._points[trial.number] = self._embedding.embed_labels(trial.params)
        return np.array([self._points[trial.number] for trial in trials])

    def forecast(self, trials: Sequence[FrozenTrial], complete: Sequence[FrozenTrial], sign: int) -> Forecast:
        """Forecast the final scores, times `sign`, of trials that have reported; `complete` is not empty."""
        if len(trials) > _BLOCK_SIZE:
            blocks = [trials[begin : begin + _BLOCK_SIZE] for begin in range(0, len(trials), _BLOCK_SIZE)]
            parts = [self.forecast(block, complete, sign) for block in blocks]
            best, deviation = (np.concatenate(column) for column in zip(*map(astuple, parts), strict=True))
            return Forecast(best, deviation)
        points, curves = self._completed_curves(complete, sign)
        epochs = np.array([trial.last_step or 1 for trial in trials])
        finals = curves[:, -1]
        reached = curves[:, np.minimum(epochs, curves.shape[1]) - 1].T  # [trials, complete]
        # With eval_step > 1 a completed trial has no score before its first validation.
        known = np.isfinite(reached)
        gains = np.where(known, finals - np.where(known, reached, 0.0), 0.0)
        distance = _squared_distances(self.points(trials), points)
        weights = np.where(known, np.exp(-0.5 * distance), 0.0)
        total = np.maximum(weights.sum(axis=1), 1e-12)
        gain = (weights * gains).sum(axis=1) / total
        spread = (weights * (gains - gain[:, None]) ** 2).sum(axis=1)
        variance = (spread + _variance(gains, known)) / (total + 1)
        # The deviation of a new observation from a mean of `total` others.
        deviation = np.where(known.any(axis=1), np.sqrt(variance * (1 + 1 / total)), np.inf)
        return Forecast(_best_so_far(trials, sign) + gain, deviation)

    def scores(self, trials: Sequence[FrozenTrial], sign: int) -> tuple[list[FrozenTrial], Floats]:
        """The trials that are completed or have reported, and their final or forecast scores times `sign`."""
        complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        open_states = (TrialState.PRUNED, TrialState.RUNNING)
        others = [trial for trial in trials if trial.state in open_states and trial.intermediate_values]
        if len(others) > _MAX_FORECASTS:
            best = np.argsort(-_best_so_far(others, sign), kind="stable")[:_MAX_FORECASTS]
            others = [others[index] for index in np.sort(best)]
        if not complete:
            return others, _best_so_far(others, sign)
        finals = self._completed_curves(complete, sign)[1][:, -1]
        if not others:
            return complete, finals
        return [*complete, *others], np.concatenate([finals, self.forecast(others, complete, sign).best])

    def _completed_curves(self, complete: Sequence[FrozenTrial], sign: int) -> tuple[Floats, Floats]:
        """Points [complete, d], and the best score up to each epoch [complete, epochs].

        Curves that end early keep their last value. Both are cached: only new trials are added.
        """
        numbers, points, curves = self._complete
        if len(numbers) != len(complete):
            seen = set(numbers)
            new = [trial for trial in complete if trial.number not in seen]
            longest = max([curves.shape[1], *(trial.last_step or 1 for trial in new)])
            rows = np.full((len(new), longest), -np.inf)
            for row, trial in zip(rows, new, strict=True):
                for epoch, value in trial.intermediate_values.items():
                    row[epoch - 1] = sign * value
            rows = np.maximum.accumulate(rows, axis=1)
            if numbers:
                rows = np.vstack([np.pad(curves, ((0, 0), (0, longest - curves.shape[1])), "edge"), rows])
            # Trials may complete in another order than that of their numbers.
            place = {number: row for row, number in enumerate([*numbers, *(trial.number for trial in new)])}
            numbers = [trial.number for trial in complete]
            points, curves = self.points(complete), rows[[place[number] for number in numbers]]
            self._complete = numbers, points, curves
        return points, curves


def _squared_distances(one: Floats, other: Floats) -> Floats:
    """[n, m] of points [n, d] and [m, d], one coordinate at a time, so that no [n, m, d] is in memory."""
    distance = np.zeros((len(one), len(other)))
    for left, right in zip(one.T, other.T, strict=True):
        distance += (left[:, None] - right[None, :]) ** 2
    return distance


def _variance(gains: Floats, known: NDArray[np.bool_]) -> Floats:
    """The variance [trials] of the known gains [trials, complete]; 0 of a single one."""
    count = known.sum(axis=1)
    mean = gains.sum(axis=1) / np.maximum(count, 1)
    squares = np.where(known, (gains - mean[:, None]) ** 2, 0.0)
    variance: Floats = squares.sum(axis=1) / np.maximum(count - 1, 1)
    return variance


def _best_so_far(trials: Sequence[FrozenTrial], sign: int) -> Floats:
    return np.array([max(sign * value for value in trial.intermediate_values.values()) for trial in trials])


def sign_of(study: Study) -> int:
    """1 if a larger score is better, else -1."""
    return 1 if study.direction == StudyDirection.MAXIMIZE else -1
