"""The scores of learning curves that the search learns from: best so far, at few epochs of each."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Each rung is at least so many times the one before.
_RUNG_RATIO = 1.3
# Scores further below the best than so many times the best's distance to the first quartile are raised to
# that: bad scores would decide about the scale, and they differ more between seeds than good ones. Chosen
# among 1, 2 and 4 on eight recorded tables (docs/explanation/search-figures.md).
_TAIL = 2.0


def rungs(epochs: int, eval_step: int = 1) -> list[int]:
    """The epochs at which trials may pause: validated ones, in a geometric sequence, and the last."""
    found = [eval_step]
    while (following := max(found[-1] + eval_step, found[-1] * _RUNG_RATIO)) < epochs:
        found.append(round(following / eval_step) * eval_step)
    return [epoch for epoch in found if epoch < epochs] + [epochs]


def best_so_far(scores: Mapping[int, float], sign: int) -> dict[int, float]:
    """The best score, times `sign`, up to each epoch that has one; those that are no numbers are left out."""
    best, found = -math.inf, {}
    for epoch in sorted(scores):
        if math.isfinite(scores[epoch]):
            best = max(best, sign * scores[epoch])
            found[epoch] = best
    return found


def observed(best: Mapping[int, float], steps: Collection[int]) -> list[tuple[int, float]]:
    """The epochs and scores of a curve to learn from: those of `steps`, and its newest."""
    newest = max(best, default=0)
    return [(epoch, score) for epoch, score in best.items() if epoch in steps or epoch == newest]


def thinned(curves: Sequence[Sequence[tuple[int, float]]], limit: int) -> list[list[int]]:
    """Which scores of each curve to keep, so that there are at most `limit`.

    The newest of each curve comes first, then more of each in turn, evenly spaced. Curves are in the order of
    their importance; where there are too many, two thirds are the first and the others evenly spaced.
    """
    counts = np.zeros(len(curves), dtype=int)
    lengths = np.array([len(one) for one in curves], dtype=int)
    present = np.flatnonzero(lengths)
    if len(present) > limit:
        first = 2 * limit // 3
        rest = present[first:]
        spread = rest[np.linspace(0, len(rest) - 1, limit - first).astype(int)]
        counts[present[:first]] = 1
        counts[spread] = 1
    else:
        left = limit
        for level in range(int(lengths.max(initial=0))):
            more = np.flatnonzero(lengths > level)[:left]
            counts[more] += 1
            left -= len(more)
    both = zip(lengths.tolist(), counts.tolist(), strict=True)
    return [_spread(length, count) if count else [] for length, count in both]


def _spread(length: int, count: int) -> list[int]:
    """`count` of the indices below `length`, evenly spaced, with the last."""
    if count == 1:
        return [length - 1]
    if count == length:
        return list(range(length))
    return sorted({round(place * (length - 1) / (count - 1)) for place in range(count)})


def without_tail(scores: Floats) -> Floats:
    """The scores, larger is better, with very bad ones raised."""
    if len(scores) < 4:
        return scores
    best = float(scores.max())
    reach = best / 2 - float(np.quantile(scores, 0.25)) / 2  # halves, since differences may be too large
    floor = best - 2 * _TAIL * reach
    return np.maximum(scores, floor) if reach > 0 and math.isfinite(floor) else scores
