"""Adapts the constants of the process to the study at hand, within bounds."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sasrecf_tune.search.strategies.curve_constants import CurveConstants, Factors
from sasrecf_tune.search.strategies.curve_kernel import Parts

Floats = NDArray[np.float64]

# What may be multiplied: the noise of seeds, the differences between configurations, and the lengths of
# parameters, one after another.
NOISE = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)
SPREAD = (0.0625, 0.125, 0.25, 0.5, 1.0, 2.0)
LENGTH = (0.5, 1.0, 2.0)
# The logarithm of how much less likely each factor of two is, before scores are seen.
_PENALTY = 3.0


def likely_constants(
    constants: CurveConstants, scores: Floats, parts: Callable[[CurveConstants], Parts]
) -> CurveConstants:
    """The most likely of the constants and their variations.

    Args:
        constants: What is varied.
        scores: [n] Larger is better.
        parts: The covariance of the scores for constants, of which only the lengths were varied.
    """
    centered = scores - np.median(scores)

    def score(factors: Factors, at_length: Parts) -> float:
        doublings = sum(abs(math.log2(factor)) for factor in (factors.noise, factors.spread, factors.length))
        covariance = at_length.added(factors.spread**2, factors.noise**2)
        return log_likelihood(np.linalg.cholesky(covariance), centered) - _PENALTY * doublings

    usual = parts(constants)
    best = max((Factors(noise=factor) for factor in NOISE), key=lambda one: score(one, usual))
    best = max((Factors(best.noise, factor) for factor in SPREAD), key=lambda one: score(one, usual))
    lengths = [Factors(best.noise, best.spread, factor) for factor in LENGTH]
    best = max(lengths, key=lambda one: score(one, parts(constants.varied(Factors(length=one.length)))))
    return constants.varied(best)


def log_likelihood(factor: Floats, centered: Floats) -> float:
    """The logarithm of the likelihood of scores, with the scale that makes it largest.

    Args:
        factor: [n, n] The Cholesky factor of their covariance.
        centered: [n] Scores, less their mean.
    """
    from scipy.linalg import solve_triangular

    white = solve_triangular(factor, centered, lower=True, check_finite=False)
    count = len(centered)
    scale = max(float(white @ white) / max(count - 1, 1), 1e-300)
    return -float(np.log(np.diag(factor)).sum()) - 0.5 * (count - 1) * math.log(scale)
