"""Draws candidates for trials: from the whole space, and around good configurations."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from sasrecf_tune.inputs.literals import Scalar
from sasrecf_tune.search.policy import Labels

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
        self._feasible = feasible
        self._cells = cells

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

    def _draw_one(self, rng: random.Random, near: Labels | None) -> Labels | None:
        for _ in range(_MAX_TRIES):
            labels = {
                name: _draw_value(rng, distribution, None if near is None else near[name])
                for name, distribution in self._distributions.items()
            }
            if self._feasible(labels):
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
