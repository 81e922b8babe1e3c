"""The covariance of scores of learning curves: which scores tell about which others, and how much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sasrecf_tune.search.strategies.curve_constants import CurveConstants
from sasrecf_tune.search.strategies.curve_embedding import Embedding

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Variance of the mean of all scores about the median of those that were seen.
_MEAN_VARIANCE = 0.3
# Added to the variance of noise, so that a covariance can be factorised in floats.
_JITTER = 1e-6


@dataclass(frozen=True)
class Spots:
    """Scores that are or may be seen: of a configuration, after an epoch, in a run.

    Args:
        cell: [n] Index of the configuration.
        time: [n] Index of the epoch.
        run: [n] Number of the trial; negative ones are in no other run.
    """

    cell: Integers
    time: Integers
    run: Integers

    def __len__(self) -> int:
        return len(self.cell)

    def __add__(self, other: Spots) -> Spots:
        return Spots(
            np.concatenate([self.cell, other.cell]),
            np.concatenate([self.time, other.time]),
            np.concatenate([self.run, other.run]),
        )

    def __getitem__(self, which: Integers | NDArray[np.bool_] | slice) -> Spots:
        return Spots(self.cell[which], self.time[which], self.run[which])


@dataclass(frozen=True)
class Parts:
    """A covariance [n, n] of scores: what they share, what configurations add, and what runs and noise do."""

    shared: Floats
    configurations: Floats
    runs: Floats

    def added(self, configurations: float = 1.0, runs: float = 1.0) -> Floats:
        """The sum, with a factor for each of the last two."""
        found: Floats = self.shared + configurations * self.configurations + runs * self.runs
        return found


class CurveKernel:
    """Covariance of best-so-far scores, of configurations and epochs that are given once.

    score(x, t, run) = mean + common(t) + level(x) + shape(x, t) + run + wander(run, t) + noise

    Each summand is a Gaussian process: Matern 5/2 over t, a logarithm of the epoch, and over the
    configuration x, with a length for each parameter.

    Args:
        constants: Its constants.
        embedding: Names the coordinates.
        points: [cells, d] Configurations.
        times: [t] Epochs on their axis, from 0 to 1.

    Source:
        Swersky, Snoek and Adams, "Freeze-thaw Bayesian optimization", 2014, and Klein et al., "Learning curve
        prediction with Bayesian neural networks", 2017, have other kernels for the same purpose.
    """

    def __init__(
        self, constants: CurveConstants, embedding: Embedding, points: Floats, times: Floats
    ) -> None:
        level, shape = embedding.scales(constants)
        self.constants = constants
        self._level, self._shape = points / level, points / shape
        apart = np.abs(times[:, None] - times[None])
        self._common = constants.common**2 * matern(apart / constants.common_length) + _MEAN_VARIANCE
        self._over_time = constants.shape**2 * matern(apart / constants.shape_length)
        self._run = constants.run**2 + constants.wander**2 * matern(apart / constants.wander_length)

    def between(self, a: Spots, b: Spots) -> Floats:
        """Covariance [a, b] of what configurations come to, seeds apart."""
        found = self._configurations(a, b)
        found += _pairs(self._common, a.time, b.time)
        return found

    def parts(self, seen: Spots) -> Parts:
        """The covariance [seen, seen] of scores, with their noise."""
        runs = self.of_runs(seen, seen)
        runs[np.diag_indices(len(seen))] += self.constants.noise**2 + _JITTER
        return Parts(_pairs(self._common, seen.time, seen.time), self._configurations(seen, seen), runs)

    def _configurations(self, a: Spots, b: Spots) -> Floats:
        cells_a, at_a = np.unique(a.cell, return_inverse=True)
        cells_b, at_b = np.unique(b.cell, return_inverse=True)
        level = self.constants.level**2 * matern(_distances(self._level[cells_a], self._level[cells_b]))
        shape = matern(_distances(self._shape[cells_a], self._shape[cells_b]))
        found = _pairs(shape, at_a, at_b)
        found *= _pairs(self._over_time, a.time, b.time)
        found += _pairs(level, at_a, at_b)
        return found

    def of_runs(self, a: Spots, b: Spots) -> Floats:
        """What a common seed adds to `between`: the covariance [a, b] of scores of the same run."""
        found = _pairs(self._run, a.time, b.time)
        found *= a.run[:, None] == b.run[None]
        return found

    def variance(self, spots: Spots) -> Floats:
        """The variance [spots] of what configurations come to, seeds apart."""
        own = self._common[spots.time, spots.time] + self._over_time[spots.time, spots.time]
        return own + self.constants.level**2


def matern(distance: Floats) -> Floats:
    """The Matern correlation with smoothness 5/2 of points at `distance`, in lengths."""
    # In place: most of the time of a decision would be spent on memory for intermediate results.
    scaled = np.sqrt(5.0) * distance
    found: Floats = scaled * scaled
    found /= 3
    found += scaled
    found += 1
    np.negative(scaled, out=scaled)
    found *= np.exp(scaled, out=scaled)
    return found


def _pairs(table: Floats, rows: Integers, columns: Integers) -> Floats:
    """The entries [rows, columns] of a table, in a third of the time of `np.ix_`."""
    return table.take(rows, axis=0).take(columns, axis=1)


def _distances(a: Floats, b: Floats) -> Floats:
    """Distances [a, b] between points."""
    squares: Floats = -2 * a @ b.T
    squares += (a * a).sum(axis=1)[:, None]
    squares += (b * b).sum(axis=1)[None]
    np.maximum(squares, 0.0, out=squares)
    return np.sqrt(squares, out=squares)
