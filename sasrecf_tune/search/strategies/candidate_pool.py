"""Candidates for new trials: all cells of a small grid, else a sample that is spread and near the best."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from sasrecf_tune.inputs.literals import Scalar
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.search.policy import Labels
from sasrecf_tune.search.strategies.candidates import Candidates

Key = tuple[Scalar, ...]

# Up to so many cells are all candidates.
_MAX_LISTED = 400
_SPREAD = 250
_NEAR_EACH = 30
# The spread candidates are drawn anew after so many trials.
_REFRESH = 32


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
        self._space = space
        self._candidates = candidates
        self._cells = cells
        self._seed = seed
        self._drawn: dict[str, list[tuple[Key, Labels]]] = {}

    def key(self, labels: Mapping[str, Scalar]) -> Key:
        """What is equal for equal configurations.

        Labels pass through the space, since multiples that Optuna calculates may differ in their last digit.
        """
        return tuple(self._space.encode(self._space.decode(labels)).values())

    def untried(self, tried: Mapping[Key, object], best: Sequence[Labels]) -> dict[Key, Labels]:
        """Candidates without those that were `tried`; some are near the `best`."""
        found: dict[Key, Labels] = {}
        for key, labels in self._draw(len(tried) // _REFRESH, best):
            if key not in tried:
                found.setdefault(key, labels)
        if not found and self._cells is not None:  # of many, all that were drawn were tried
            for labels in self._cells():
                key = self.key(labels)
                if key not in tried:
                    found[key] = labels
                if len(found) == _SPREAD:
                    break
        return found

    def count_untried(self, tried: Mapping[Key, object]) -> int | None:
        """How many cells were not tried; None for infinitely many."""
        if self._cells is None:
            return None if self._space.size is None else max(self._space.size - len(tried), 0)
        return max(len(self._cells()) - len(tried), 0)

    def _draw(self, refreshed: int, best: Sequence[Labels]) -> list[tuple[Key, Labels]]:
        cells = self._cells() if self._cells is not None else None
        if cells is not None and len(cells) <= _MAX_LISTED:
            return self._once("all", lambda _: cells)
        drawn = list(self._once(f"spread {refreshed}", lambda rng: self._candidates.spread(rng, _SPREAD)))
        for center in best:
            near = self._once(
                f"near {self.key(center)}", lambda rng, at=center: self._candidates.near(rng, at, _NEAR_EACH)
            )
            drawn += near
        return drawn

    def _once(self, what: str, draw: Callable[[random.Random], Sequence[Labels]]) -> list[tuple[Key, Labels]]:
        if what not in self._drawn:
            if len(self._drawn) > 1000:
                self._drawn.clear()
            rng = random.Random(f"{self._seed} {what}")
            self._drawn[what] = [(self.key(labels), labels) for labels in draw(rng)]
        return self._drawn[what]
