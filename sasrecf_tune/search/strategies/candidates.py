"""Configurations to choose the next trial from: all of a small grid, else a sample of the space."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from sasrecf_tune.inputs.literals import Scalar
from sasrecf_tune.search.strategies.samplers import Labels

# So many cells are all looked at; of more, and of an infinite space, so many are drawn anew each time.
_ALL = 2000
_DRAWN = 500
_NEAR_EACH = 50
# How far from a good configuration its neighbours are, as a share of a parameter's range.
_STEP = 0.15
_DRAWS = 20  # for one candidate that can exist


class Candidates:
    """Draws from the whole space, and near the best configurations of it.

    `feasible` says whether labels can exist; `cells` lists all that can, None where they are too many.
    """

    def __init__(
        self,
        distributions: Mapping[str, BaseDistribution],
        feasible: Callable[[Labels], bool],
        cells: Callable[[], Sequence[Labels]] | None,
    ) -> None:
        self._distributions = dict(distributions)
        self.feasible = feasible
        self._cells = cells

    def __call__(self, draw: random.Random, best: Sequence[Labels]) -> list[Labels]:
        """Candidates; `best` are the configurations to look around."""
        cells = self._cells() if self._cells else None
        if cells is not None and len(cells) <= _ALL:
            return list(cells)
        drawn = list(draw.sample(cells, _DRAWN)) if cells is not None else []
        found = [*drawn, *(self._drawn(draw, None) for _ in range(_DRAWN - len(drawn)))]
        found += [self._drawn(draw, labels) for labels in best for _ in range(_NEAR_EACH)]
        return [labels for labels in found if labels is not None]

    def all_left(self, taken: Callable[[Labels], bool]) -> list[Labels]:
        """The last resort when a sample has nothing new: listed cells that are not taken."""
        return [labels for labels in self._cells() if not taken(labels)] if self._cells else []

    def _drawn(self, draw: random.Random, near: Labels | None) -> Labels | None:
        for _ in range(_DRAWS):
            labels = {
                name: _draw(draw, distribution, None if near is None else near[name])
                for name, distribution in self._distributions.items()
            }
            if self.feasible(labels):
                return labels
        return None


def _draw(draw: random.Random, distribution: BaseDistribution, near: Scalar) -> Scalar:
    if isinstance(distribution, CategoricalDistribution):
        stays = near is not None and draw.random() < 1 - _STEP
        return near if stays else draw.choice(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = float(distribution.low), float(distribution.high)
    low, high = (math.log(low), math.log(high)) if distribution.log else (low, high)
    if near is None:
        x = draw.uniform(low, high)
    else:
        assert isinstance(near, int | float)
        middle = math.log(near) if distribution.log else float(near)
        x = min(max(draw.gauss(middle, _STEP * (high - low)), low), high)
    x = min(max(math.exp(x) if distribution.log else x, distribution.low), distribution.high)
    if distribution.step is not None:
        x = distribution.low + distribution.step * round((x - distribution.low) / distribution.step)
        x = min(x, distribution.high)
    return round(x) if isinstance(distribution, IntDistribution) else x
