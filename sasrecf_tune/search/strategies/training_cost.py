"""What training is expected to cost: seconds of an epoch, and epochs until early stopping."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sasrecf_tune.search.strategies.beliefs import Observed

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# The logarithm of the seconds of an epoch has this deviation between the ends of a parameter's range, and
# between trials of one configuration.
_PARAMETER_DEVIATION = 1.0
_TRIAL_DEVIATION = 0.2
# In a factor of e of epochs, so many of the trials end that could, before any is known to have ended.
_ENDING_RATE = 0.5


class SecondsPerEpoch:
    """Ridge regression of the logarithm of an epoch's seconds on the coordinates of configurations.

    Args:
        points: [trials, d] Configurations.
        seconds: [trials] Of training; those that are not above zero are not known.
        epochs: [trials] That were trained in it.
    """

    def __init__(self, points: Floats, seconds: Floats, epochs: Integers) -> None:
        known = np.isfinite(seconds) & (seconds > 0) & (epochs > 0)
        self._weights: Floats | None = None
        if known.any():
            x = points[known]
            y = np.log(seconds[known] / epochs[known])
            self._middle = x.mean(axis=0)
            x = x - self._middle
            ridge = np.eye(x.shape[1]) * (_TRIAL_DEVIATION / _PARAMETER_DEVIATION) ** 2
            self._weights = np.linalg.solve(x.T @ x + ridge, x.T @ (y - y.mean()))

    def predict(self, points: Floats) -> Floats:
        """The seconds [n] of an epoch of each, relative to a usual one."""
        if self._weights is None:
            return np.ones(len(points))
        found: Floats = np.exp(np.clip((points - self._middle) @ self._weights, -5.0, 5.0))
        return found


def seconds_per_epoch(trials: Sequence[Observed], trial: Observed) -> float:
    """The seconds of an epoch of `trial`; the median of all `trials` if not known, 0 if none is."""
    known = {one.curve.number: one.curve.seconds / one.newest for one in trials if one.newest}
    known = {number: seconds for number, seconds in known.items() if seconds > 0}
    return known.get(trial.curve.number) or float(np.median(list(known.values()) or [0.0]))


class ExpectedEpochs:
    """How many epochs a trial is expected to train before early stopping ends it.

    The rate of ending is estimated between rungs from the trials that did, and those that went on.

    Args:
        steps: The rungs, the last epoch included.
        patience: Epochs without a better score that end a trial; more than the last epoch for never.
        ended: The epochs at which early stopping ended trials.
        reached: How far all trials got.
    """

    def __init__(
        self, steps: Sequence[int], patience: int, ended: Sequence[int], reached: Sequence[int]
    ) -> None:
        last = steps[-1]
        epochs = np.arange(1, last + 1)
        edges = np.array([0, *steps])
        # One trial's worth of what is usual counts as seen.
        usual = np.where(epochs > patience, _ENDING_RATE / epochs, 0.0)
        trained = np.clip(np.asarray(reached, dtype=int)[:, None], edges[:-1], edges[1:]) - edges[:-1]
        exposure = trained.sum(axis=0)
        endings = np.histogram(np.asarray(ended, dtype=int), bins=edges + 0.5)[0]
        lengths = np.diff(edges)
        interval = np.searchsorted(edges, epochs) - 1
        prior = np.bincount(interval, weights=usual, minlength=len(lengths))
        rate = (endings + prior) / (exposure + lengths)
        survival = np.exp(-np.concatenate([[0.0], np.cumsum(rate[interval])]))
        self._survival = np.maximum(survival, 1e-12)
        self._trained = np.concatenate([[0.0], np.cumsum(self._survival[:-1])])

    def between(self, first: Integers, until: Integers) -> Floats:
        """Expected epochs [n] of a trial that goes on after epoch `first`, at most to `until`."""
        epochs: Floats = (self._trained[until] - self._trained[first]) / self._survival[first]
        return np.maximum(epochs, 0.5)
