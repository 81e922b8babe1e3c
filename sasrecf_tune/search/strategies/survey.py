"""The state of a study for the search: its trials, candidates for new ones, and what is believed of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sasrecf_tune.search.policy import Curve, CurveState, Labels
from sasrecf_tune.search.strategies.beliefs import Beliefs, Observed
from sasrecf_tune.search.strategies.candidate_pool import CandidatePool, Key
from sasrecf_tune.search.strategies.curve_constants import CurveConstants
from sasrecf_tune.search.strategies.curve_embedding import Embedding
from sasrecf_tune.search.strategies.curve_scores import observed
from sasrecf_tune.search.strategies.horizon import Horizon

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Candidates near so many of the best configurations.
_CENTERS = 5


class Survey:
    """Trials and candidates, as indices of configurations.

    Attributes:
        labels: [cells] Configurations: of trials first, then candidates.
        lasts: [cells] The last epoch of each.
        trials: All trials.
        open: By configuration, the trial that can go on now: paused, or at its `until`.
        tried: How many of the configurations have a trial.
    """

    def __init__(
        self,
        curves: Sequence[Curve],
        scores: Sequence[Mapping[int, float]],
        space: tuple[Embedding, CandidatePool, Horizon],
        constants: CurveConstants,
        may_begin: bool,
    ) -> None:
        embedding, self._pool, horizon = space
        self._index: dict[Key, int] = {}
        self.labels: list[Labels] = []
        cells = [self._add(self._pool.key(curve.labels), curve.labels) for curve in curves]
        self.tried = len(self.labels)
        lasts = [horizon.last(labels) for labels in self.labels]
        self.trials: list[Observed] = []
        for curve, cell, best in zip(curves, cells, scores, strict=True):
            last, newest = lasts[cell], max(curve.scores, default=0)
            complete = curve.state is CurveState.ENDED and bool(best) and horizon.is_final(newest, last)
            early = complete and newest + horizon.eval_step <= last
            seen = observed(best, horizon.steps(last), last if early else None)
            self.trials.append(Observed(curve, cell, seen, complete))
        if may_begin:
            tried = dict(self._index)
            for key, labels in self._pool.untried(tried, self._best()).items():
                lasts.append(horizon.last(labels))
                self._add(key, labels)
        self.lasts: Integers = np.array(lasts, dtype=int)
        self.points = embedding.embed(self.labels)
        self.open: dict[int, Observed] = {}
        allowed = np.ones(len(self.labels), dtype=bool)
        allowed[: self.tried] = False
        for one in self.trials:
            if one.curve.state is not CurveState.FAILED:
                allowed[one.cell] = True
            if one.curve.state is CurveState.PAUSED or one.reached:
                known = self.open.get(one.cell)
                if known is None or (one.reached, one.newest) > (known.reached, known.newest):
                    self.open[one.cell] = one
        self.beliefs = Beliefs(
            constants, embedding, self.points, self.lasts, allowed, self.trials, horizon.steps(horizon.epochs)
        )

    def complete(self) -> NDArray[np.bool_]:
        """[j] Which of the configurations of the beliefs were trained to their end."""
        found = {one.cell for one in self.trials if one.complete}
        return np.array([cell in found for cell in self.beliefs.cells], dtype=bool)

    def untried(self) -> NDArray[np.bool_]:
        """[j] Which of the configurations of the beliefs have no trial."""
        return self.beliefs.cells >= self.tried

    def count_untried(self) -> int | None:
        """How many configurations of the space have no trial; None for infinitely many."""
        return self._pool.count_untried(dict.fromkeys(list(self._index)[: self.tried]))

    def _add(self, key: Key, labels: Labels) -> int:
        if key not in self._index:
            self._index[key] = len(self.labels)
            self.labels.append(labels)
        return self._index[key]

    def _best(self) -> list[Labels]:
        scored = sorted((one for one in self.trials if one.scores), key=lambda one: -one.scores[-1][1])
        cells = list(dict.fromkeys(one.cell for one in scored))[:_CENTERS]
        return [self.labels[cell] for cell in cells]
