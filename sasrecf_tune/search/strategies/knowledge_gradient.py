"""The knowledge gradient: by how much a further score is expected to raise the best prediction."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Crossings further out than so many standard deviations add less than the last digit of a float.
_FAR = 8.0


def knowledge_gradient(means: Floats, slopes: Floats) -> Floats:
    """The expected rise of the largest prediction, exactly.

    After a score is seen that lies z standard deviations from its prediction, the predictions are
    means + slopes * z, so that the largest is a convex, piecewise linear function of z. Its pieces are found
    from left to right, for all actions at once.

    Args:
        means: [j] Predictions now.
        slopes: [a, j] How far each moves for a deviation of the score that action a would see.

    Returns:
        [a], E max_j(means + slopes z) - max(means) for a standard normal z.

    Source:
        Frazier, Powell and Dayanik, "The knowledge-gradient policy for correlated normal beliefs", 2009,
        equation 14.
    """
    from scipy.special import ndtr

    gains = np.zeros(len(slopes))
    left = np.arange(len(slopes))  # actions whose pieces are not all found
    piece = (means[None] - _FAR * slopes).argmax(axis=1)
    while len(left):
        slope = slopes[left, piece]
        steeper = slopes[left] - slope[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = (means[piece][:, None] - means[None]) / steeper
        crossing[steeper <= 0] = np.inf
        following = crossing.argmin(axis=1)
        rows = np.arange(len(left))
        at = crossing[rows, following]
        goes_on = at < _FAR
        left, piece, at, rows = left[goes_on], following[goes_on], at[goes_on], rows[goes_on]
        far = -np.abs(at)
        density = np.exp(-0.5 * far * far) / math.sqrt(2 * math.pi)
        gains[left] += steeper[rows, piece] * (density + far * ndtr(far))
    return gains
