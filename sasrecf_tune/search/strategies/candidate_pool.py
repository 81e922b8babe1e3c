"""Candidates for new trials: all cells of a small grid, else a sample that is spread and near the best."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from sasrecf_tune.inputs.literals import Scalar
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.search.policy import Labels
from sasrecf_tune.search.strategies.candidates import Candidates
from sasrecf_tune.search.strategies.curve_embedding import Embedding

Key = tuple[Scalar, ...]

# Up to so many cells are all candidates.
_MAX_LISTED = 400
_SPREAD = 250
_NEAR_EACH = 30
# The spread candidates are drawn anew after so many trials.
_REFRESH = 32
_MAX_DRAWS_KEPT = 1000


@dataclass(frozen=True)
class Configuration:
    """A configuration, and what is calculated of it once.

    Args:
        key: Equal for equal configurations.
        labels: As Optuna stores it.
        point: Its coordinates.
    """

    key: Key
    labels: Labels
    point: list[float]


class CandidatePool:
    """Draws configurations that are feasible and have not been tried.

    What it draws depends on the seed, the number of trials and the best configurations alone.

    Args:
        candidates: Draws single ones.
        cells: Lists all feasible cells; None for a space that is infinite or too large.
    """

    def __init__(
        self,
        space: SearchSpace,
        candidates: Candidates,
        cells: Callable[[], Sequence[Labels]] | None,
        seed: int,
    ) -> None:
        self.embedding = Embedding(space)
        self._space = space
        self._candidates = candidates
        self._cells = cells
        self._seed = seed
        self._drawn: dict[str, list[Configuration]] = {}

    def configuration(self, labels: Labels) -> Configuration:
        """The configuration of labels.

        The key passes through the space, since multiples that Optuna calculates may differ in their last
        digit.
        """
        key = tuple(self._space.encode(self._space.decode(labels)).values())
        return Configuration(key, labels, self.embedding.embed_one(labels))

    def untried(self, tried: Collection[Key], best: Sequence[Configuration]) -> list[Configuration]:
        """Candidates without those that were `tried`; some are near the `best`."""
        drawn = self._draw(len(tried) // _REFRESH, best)
        found = {one.key: one for one in drawn if one.key not in tried}
        if not found and self._cells is not None:  # of many, all that were drawn were tried
            for labels in self._cells():
                one = self.configuration(labels)
                if one.key not in tried:
                    found[one.key] = one
                if len(found) == _SPREAD:
                    break
        return list(found.values())

    def nearest(self, labels: Labels) -> Labels:
        """The candidate that is nearest to a configuration, which need not be feasible."""
        point = np.array(self.embedding.embed_one(labels))
        drawn = self._draw(0, [])
        distances = [float(((np.array(one.point) - point) ** 2).sum()) for one in drawn]
        return drawn[distances.index(min(distances))].labels

    def count_untried(self, tried: Collection[Key]) -> int | None:
        """How many cells were not tried; None for infinitely many."""
        size = self._space.size if self._cells is None else len(self._cells())
        return None if size is None else max(size - len(tried), 0)

    def _draw(self, refreshed: int, best: Sequence[Configuration]) -> list[Configuration]:
        cells = self._cells() if self._cells is not None else None
        if cells is not None and len(cells) <= _MAX_LISTED:
            return self._once("all", lambda _: cells)
        drawn = list(self._once(f"spread {refreshed}", partial(self._candidates.spread, count=_SPREAD)))
        for one in best:
            near = partial(self._candidates.near, center=one.labels, count=_NEAR_EACH)
            drawn += self._once(f"near {one.key}", near)
        return drawn

    def _once(self, what: str, draw: Callable[[random.Random], Sequence[Labels]]) -> list[Configuration]:
        if what not in self._drawn:
            if len(self._drawn) > _MAX_DRAWS_KEPT:
                self._drawn.clear()
            rng = random.Random(f"{self._seed} {what}")
            self._drawn[what] = [self.configuration(labels) for labels in draw(rng)]
        return self._drawn[what]
