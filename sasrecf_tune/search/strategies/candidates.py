"""Candidates for the next trial: all cells of a small grid, else a sample of the space."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from sasrecf_tune.inputs.literals import Scalar
from sasrecf_tune.search.policy import Labels

# Up to so many cells are all candidates; of a larger or infinite space, a sample is drawn for each trial.
_MAX_CELLS = 2000
_SAMPLE_SIZE = 500
_NEAR_EACH = 50  # candidates around each of the best configurations
# The distance of a neighbour: the standard deviation as a share of a parameter's range, and the probability
# that a categorical parameter changes.
_STEP = 0.15
_MAX_TRIES = 20  # for one candidate that is feasible


class Candidates:
    """Draws configurations that are `feasible`; `cells` are all of these, None if they are not listed."""

    def __init__(
        self,
        distributions: Mapping[str, BaseDistribution],
        feasible: Callable[[Labels], bool],
        cells: Callable[[], Sequence[Labels]] | None,
    ) -> None:
        self._distributions = dict(distributions)
        self.feasible = feasible
        self._cells = cells

    def draw(self, rng: random.Random, best: Sequence[Labels]) -> list[Labels]:
        """Draw candidates from the whole space and around each of `best`."""
        cells = self._cells() if self._cells else None
        if cells is not None and len(cells) <= _MAX_CELLS:
            return list(cells)
        listed = list(rng.sample(cells, _SAMPLE_SIZE)) if cells is not None else []
        drawn = [*listed, *(self._draw_one(rng, None) for _ in range(_SAMPLE_SIZE - len(listed)))]
        drawn += [self._draw_one(rng, labels) for labels in best for _ in range(_NEAR_EACH)]
        return [labels for labels in drawn if labels is not None]

    def spread(self, rng: random.Random, count: int) -> list[Labels]:
        """Draw up to `count` candidates from the whole space."""
        cells = self._cells() if self._cells else None
        if cells is not None:
            return list(rng.sample(cells, min(count, len(cells))))
        drawn = (self._draw_one(rng, None) for _ in range(count))
        return [labels for labels in drawn if labels is not None]

    def near(self, rng: random.Random, center: Labels, count: int) -> list[Labels]:
        """Draw up to `count` candidates around a configuration."""
        drawn = (self._draw_one(rng, center) for _ in range(count))
        return [labels for labels in drawn if labels is not None]

    def listed_without(self, taken: Callable[[Labels], bool]) -> list[Labels]:
        """All listed cells that are not taken, for when no drawn candidate is new."""
        return [labels for labels in self._cells() if not taken(labels)] if self._cells else []

    def _draw_one(self, rng: random.Random, near: Labels | None) -> Labels | None:
        for _ in range(_MAX_TRIES):
            labels = {
                name: _draw_value(rng, distribution, None if near is None else near[name])
                for name, distribution in self._distributions.items()
            }
            if self.feasible(labels):
                return labels
        return None


def _draw_value(rng: random.Random, distribution: BaseDistribution, near: Scalar) -> Scalar:
    if isinstance(distribution, CategoricalDistribution):
        stays = near is not None and rng.random() < 1 - _STEP
        return near if stays else rng.choice(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = float(distribution.low), float(distribution.high)
    low, high = (math.log(low), math.log(high)) if distribution.log else (low, high)
    if near is None:
        x = rng.uniform(low, high)
    else:
        assert isinstance(near, int | float)
        middle = math.log(near) if distribution.log else float(near)
        x = min(max(rng.gauss(middle, _STEP * (high - low)), low), high)
    x = min(max(math.exp(x) if distribution.log else x, distribution.low), distribution.high)
    if distribution.step is not None:
        x = distribution.low + distribution.step * round((x - distribution.low) / distribution.step)
        x = min(x, distribution.high)
    return round(x) if isinstance(distribution, IntDistribution) else x
