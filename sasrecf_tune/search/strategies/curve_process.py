"""A Gaussian process over learning curves: predicts scores from those that were seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sasrecf_tune.search.strategies.curve_kernel import CurveKernel, Spots

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    """What configurations come to, seeds apart.

    Args:
        mean: [n] Expected scores.
        whitened: [seen, n] The inverse of the Cholesky factor times the covariance with what was seen.
    """

    mean: Floats
    whitened: Floats


class CurveProcess:
    """The process after scores were seen, in units of the scale of scores.

    Scores may be pending: those take part in the covariance, as if they were to be as predicted. This is how
    parallel workers are kept from repeating each other.

    Args:
        kernel: The covariance.
        seen: Scores that were seen and pending ones, in this order.
        scores: [s] The seen ones; larger is better.

    Attributes:
        scale: The standard deviation that a unit of the kernel stands for, by maximum likelihood.

    Source:
        Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, chapter 2.
        Ginsbourger et al., "Kriging is well-suited to parallelize optimization", 2010, for pending scores.
    """

    def __init__(self, kernel: CurveKernel, seen: Spots, scores: Floats) -> None:
        from scipy.linalg import solve_triangular

        self._kernel, self._seen = kernel, seen
        self._factor = np.linalg.cholesky(kernel.parts(seen).added())
        count = len(scores)
        self.center = float(np.median(scores)) if count else 0.0
        white = np.zeros(len(seen))
        if count:
            own = self._factor[:count, :count]
            white[:count] = solve_triangular(own, scores - self.center, lower=True, check_finite=False)
        floor = 1e-12 * max(float(np.abs(scores).max(initial=0.0)), 1e-300)
        self.scale = max(float(np.sqrt((white @ white) / max(count - 1, 1))), floor)
        self._white = white / self.scale
        self._weights = solve_triangular(self._factor, self._white, lower=True, trans=1, check_finite=False)

    def predict(self, spots: Spots) -> Prediction:
        """Predict what configurations come to at epochs, seeds apart."""
        return self._predict(self._kernel.between(self._seen, spots))

    def mean(self, spots: Spots) -> Floats:
        """The predicted means [spots] alone, which takes less time."""
        found: Floats = self._weights @ self._kernel.between(self._seen, spots)
        return found

    def predict_runs(self, spots: Spots) -> Prediction:
        """Predict what runs come to at epochs: the same, but what is known of a run's seed counts."""
        covariance = self._kernel.between(self._seen, spots) + self._kernel.of_runs(self._seen, spots)
        return self._predict(covariance)

    def deviation(self, spots: Spots, predicted: Prediction) -> Floats:
        """The standard deviation [spots] of what configurations come to."""
        own = self._kernel.variance(spots) - (predicted.whitened**2).sum(axis=0)
        found: Floats = np.sqrt(np.maximum(own, 1e-12))
        return found

    def learned(self, finals: Spots, of_finals: Prediction, spots: Spots, of_spots: Prediction) -> Floats:
        """How far the prediction of each final score moves for a deviation of each score to be seen.

        Args:
            finals: [j] Configurations at their last epochs.
            of_finals: Their prediction.
            spots: [a] Scores that may be seen next.
            of_spots: Their prediction as runs.

        Returns:
            [a, j], signed.
        """
        moved = self._kernel.between(spots, finals) - of_spots.whitened.T @ of_finals.whitened
        constants = self._kernel.constants
        own = self._kernel.variance(spots) + constants.seed_variance - (of_spots.whitened**2).sum(axis=0)
        found: Floats = moved / np.sqrt(np.maximum(own, 1e-12))[:, None]
        return found

    def learned_together(self, finals: Spots, of_finals: Prediction, spots: Spots) -> Floats:
        """How far the prediction of each final score moves when all of `spots` are seen, each in its run.

        Args:
            finals: [j] Configurations at their last epochs.
            of_finals: Their prediction.
            spots: [k] Scores that are seen together.

        Returns:
            [j, k], signed, for independent standard normal deviations.
        """
        from scipy.linalg import solve_triangular

        of_spots = self.predict_runs(spots)
        own = self._kernel.parts(spots).added() - of_spots.whitened.T @ of_spots.whitened
        moved = self._kernel.between(spots, finals) - of_spots.whitened.T @ of_finals.whitened
        factor = np.linalg.cholesky(own)
        found: Floats = solve_triangular(factor, moved, lower=True, check_finite=False).T
        return found

    def to_scores(self, units: Floats) -> Floats:
        """Scores as `scores` of predicted means."""
        found: Floats = self.center + self.scale * units
        return found

    def _predict(self, covariance: Floats) -> Prediction:
        from scipy.linalg import solve_triangular

        whitened = solve_triangular(self._factor, covariance, lower=True, check_finite=False)
        return Prediction(self._white @ whitened, whitened)
