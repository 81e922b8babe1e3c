"""The true final score of each cell of a table: the scores of all seeds, smoothed over the cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

from benchmarks.search.curve_table import Floats, Table
from benchmarks.search.parameter_scales import scaled

# Bounds of the logarithms of: length scale of a parameter; deviation of what cells share, and of their own.
_LENGTHS = (-1.5, 3.0)
_SIGNAL = (-2.0, 2.0)
_OWN = (-4.0, 0.5)
_JITTER = 1e-8


@dataclass(frozen=True)
class Truth:
    """What a choice is judged by.

    Attributes:
        scores: [cells], the smoothed final score.
        deviation: The standard deviation of a final score between the seeds of a cell.
    """

    scores: Floats
    deviation: float

    @property
    def regrets(self) -> Floats:
        """[cells]: how far each is below the best, in standard deviations between seeds."""
        return np.asarray((self.scores.max() - self.scores) / self.deviation, dtype=float)


def smoothed_truth(table: Table, finals: Floats) -> Truth:
    """Fit a Gaussian process to the means of `finals` [cells, seeds], and return its mean at the cells.

    A cell's score is what like cells share, by a Matern kernel with a length scale for each parameter, plus
    what is its own, plus the seeds' noise, whose size is known from the seeds. The constants are those of
    maximum likelihood. A noisy mean is so drawn to those of its neighbours: the best of many noisy means is
    not taken for the truth.
    """
    noise = float(finals.var(axis=1, ddof=1).mean())
    means = finals.mean(axis=1)
    spread = float(means.std()) or 1.0
    targets = (means - means.mean()) / spread
    error = noise / finals.shape[1] / spread**2 + _JITTER
    points = scaled(table.space, table.cells)
    free = points.shape[1]

    def kernel(constants: Floats) -> Floats:
        shared = _matern(points / np.exp(constants[:free])) * np.exp(2 * constants[free])
        return np.asarray(shared + np.eye(len(points)) * np.exp(2 * constants[free + 1]), dtype=float)

    def loss(constants: Floats) -> float:
        factor = cho_factor(kernel(constants) + np.eye(len(points)) * error, lower=True)
        fit = 0.5 * targets @ cho_solve(factor, targets)
        # A weak prior keeps the scale of a parameter that changes nothing finite.
        prior = 0.05 * float((constants[:free] ** 2).sum())
        return float(fit + np.log(np.diag(factor[0])).sum() + prior)

    begin = np.array([0.0] * free + [0.0, -1.5])
    found = minimize(
        loss, begin, method="L-BFGS-B", bounds=[_LENGTHS] * free + [_SIGNAL, _OWN], options={"maxiter": 60}
    )
    cells = kernel(found.x)
    weights = cho_solve(cho_factor(cells + np.eye(len(points)) * error, lower=True), targets)
    return Truth(means.mean() + spread * (cells @ weights), max(noise**0.5, 1e-12))


def _matern(points: Floats) -> Floats:
    distances = np.sqrt(5.0) * cdist(points, points)
    return np.asarray((1 + distances + distances**2 / 3) * np.exp(-distances), dtype=float)
