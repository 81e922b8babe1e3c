"""Differences between the levels of a parameter, from a least-squares fit that adjusts for the others.

A search that chooses its trials by their scores tries values together, so that a difference between two
values may be due to another parameter. Such a difference is unknown, and so is one that too few trials show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# An ideal search has 95%. Where trials are chosen by scores, 99% intervals are wrong in less than 5% of the
# studies (benchmarks/report/effects.py).
CONFIDENCE = 0.99
# With fewer degrees of freedom the error is not estimated.
_LEAST_FREEDOM = 3
# A difference is confounded if adjusting for another parameter multiplies its variance by more than this, or
# if a parameter that is not adjusted for has other values in more than this share of the trials compared.
_MOST_INFLATION = 3.0
_MOST_IMBALANCE = 0.35

TOO_FEW = "too few completed trials"


@dataclass(frozen=True)
class Contrast:
    """By how much a level is worse than the best one.

    Args:
        behind: None if it is not known.
        margin: Half of the interval of `behind`.
        unknown: Why it is not known, such as "confounded with n_heads".
    """

    behind: float | None
    margin: float = 0.0
    unknown: str = ""


@dataclass(frozen=True)
class _Fit:
    """A linear fit: coefficients, covariance without the variance of the error, and what it can estimate."""

    coefficients: Floats
    inverse: Floats
    projection: Floats
    weights: Floats
    freedom: int
    variance: float

    def estimable(self, contrast: Floats) -> bool:
        return bool(np.allclose(contrast @ self.projection, contrast, atol=1e-6))

    def spread(self, contrast: Floats) -> float:
        return float(contrast @ self.inverse @ contrast)


@dataclass(frozen=True)
class Covariate:
    """Another parameter.

    Args:
        columns: What adjusts for it [trials, columns].
        levels: Its levels [trials, levels]: 1 where a trial has the level.
    """

    columns: Floats
    levels: Floats


def contrasts(
    own: Floats, others: Mapping[str, Covariate], scores: Floats, sign: int, unit: float
) -> tuple[list[Contrast], list[str]]:
    """Compare each level with the best.

    Args:
        own: The levels [trials, levels]: 1 where a trial has the level.
        others: What to adjust for, the most important first.
        scores: The scores [trials].
        sign: 1 if a larger score is better, else -1.
        unit: The last digit of a score.

    Returns:
        A contrast for each level, and the parameters that were adjusted for.
    """
    count = own.shape[1]
    used = [column for column in range(count) if own[:, column].any()]
    matrix, adjusted = own, list[str]()
    for name, other in others.items():
        wider = np.hstack([matrix, other.columns])
        if len(scores) - np.linalg.matrix_rank(wider) >= max(_LEAST_FREEDOM, len(scores) / 3):
            matrix = wider
            adjusted.append(name)
    if len(used) < 2 or len(scores) - np.linalg.matrix_rank(matrix) < _LEAST_FREEDOM:
        return [Contrast(None, unknown=TOO_FEW)] * count, adjusted
    fit = _fit(matrix, scores)
    best = max(used, key=lambda column: sign * fit.coefficients[column])
    # The best level was chosen by its score, so the margin is corrected for all pairs (Bonferroni).
    pairs = len(used) * (len(used) - 1) / 2
    quantile = _student(1 - (1 - CONFIDENCE) / 2 / pairs, fit.freedom)
    # Rounding to `unit` adds a variance of unit**2 / 12.
    variance = max(fit.variance, unit**2 / 12)
    found = []
    for column in range(count):
        if column == best or column not in used:
            found.append(Contrast(0.0) if column == best else Contrast(None, unknown=TOO_FEW))
            continue
        contrast = np.zeros(matrix.shape[1])
        contrast[best], contrast[column] = 1, -1
        if reason := _unknown(fit, contrast, own, others, adjusted):
            found.append(Contrast(None, unknown=reason))
        else:
            error = math.sqrt(max(0.0, variance * fit.spread(contrast)))
            found.append(Contrast(sign * float(contrast @ fit.coefficients), quantile * error))
    return found, adjusted


def _unknown(
    fit: _Fit, contrast: Floats, own: Floats, others: Mapping[str, Covariate], adjusted: Sequence[str]
) -> str:
    """Return why the trials do not determine the contrast, "" if they do."""
    count = own.shape[1]
    alone = float(np.abs(contrast[:count]) @ (1 / np.maximum(own.sum(axis=0), 1)))
    inflation = {
        name: _spread(np.hstack([own, others[name].columns]), contrast[:count]) / alone for name in adjusted
    }
    worst = max(inflation, key=lambda name: inflation[name], default="")
    # Parameters that were drawn independently inflate it too, the more the fewer trials there are.
    expected = len(own) / fit.freedom
    if not fit.estimable(contrast) or fit.spread(contrast) > _MOST_INFLATION * alone * expected:
        return f"confounded with {worst}"
    if worst and inflation[worst] > _MOST_INFLATION:
        return f"confounded with {worst}"
    weights = contrast @ fit.weights
    weights = weights / np.abs(weights).sum() * 2
    imbalance = {
        name: float(np.abs(others[name].levels.T @ weights).sum()) / 2
        for name in others
        if name not in adjusted
    }
    worst = max(imbalance, key=lambda name: imbalance[name], default="")
    return f"confounded with {worst}" if worst and imbalance[worst] > _MOST_IMBALANCE else ""


def _spread(matrix: Floats, contrast: Floats) -> float:
    padded = np.concatenate([contrast, np.zeros(matrix.shape[1] - len(contrast))])
    fit = _fit(matrix, np.zeros(len(matrix)))
    return fit.spread(padded) if fit.estimable(padded) else math.inf


def _fit(matrix: Floats, scores: Floats) -> _Fit:
    inverse = np.linalg.pinv(matrix.T @ matrix, hermitian=True)
    weights = inverse @ matrix.T
    coefficients = weights @ scores
    freedom = len(scores) - int(np.linalg.matrix_rank(matrix))
    residual = float(np.sum((scores - matrix @ coefficients) ** 2)) / max(1, freedom)
    return _Fit(coefficients, inverse, weights @ matrix, weights, freedom, residual)


def _student(probability: float, freedom: int) -> float:
    from scipy.special import stdtrit  # slow to import

    return float(stdtrit(freedom, probability))
