"""The state of a study for the search: its trials, candidates for new ones, and what is believed of both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sasrecf_tune.search.policy import Curve, CurveState
from sasrecf_tune.search.strategies.beliefs import Beliefs, Observed
from sasrecf_tune.search.strategies.candidate_pool import CandidatePool, Configuration, Key
from sasrecf_tune.search.strategies.curve_constants import CurveConstants
from sasrecf_tune.search.strategies.horizon import Horizon

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Candidates near so many of the best configurations.
_CENTERS = 5
# A parameter with at most so many values has each of them tried.
_FEW_VALUES = 10


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
        known: Sequence[tuple[Configuration, list[tuple[int, float]]]],
        pool: CandidatePool,
        horizon: Horizon,
        constants: CurveConstants,
        may_begin: bool,
    ) -> None:
        self._pool = pool
        index: dict[Key, int] = {}
        found: list[Configuration] = []

        def add(one: Configuration) -> int:
            if one.key not in index:
                index[one.key] = len(found)
                found.append(one)
            return index[one.key]

        # Configurations that have provisional trials alone are candidates with scores.
        for curve, (one, _) in zip(curves, known, strict=True):
            if not curve.provisional:
                add(one)
        self.tried = len(found)
        cells = [add(one) for one, _ in known]
        lasts = [horizon.last(one.labels) for one in found]
        self.trials: list[Observed] = []
        for curve, cell, (_, seen) in zip(curves, cells, known, strict=True):
            last, newest = lasts[cell], max(curve.scores, default=0)
            ended = curve.state is CurveState.ENDED and bool(seen)
            if ended and newest + horizon.eval_step <= last:
                seen = [*seen, (last, seen[-1][1])]  # early stopping ended it: its best score stays
            self.trials.append(Observed(curve, cell, newest, seen, ended and not curve.provisional))
        if may_begin:
            scored = sorted((one for one in self.trials if one.scores), key=lambda one: -one.scores[-1][1])
            best_cells = list(dict.fromkeys(one.cell for one in scored))[:_CENTERS]
            for one in pool.untried(frozenset(index), [found[cell] for cell in best_cells]):
                add(one)
                lasts.append(horizon.last(one.labels))
        self._tried_keys = frozenset(one.key for one in found[: self.tried])
        self.labels = [one.labels for one in found]
        self.lasts: Integers = np.array(lasts, dtype=int)
        self.points = np.array([one.point for one in found], dtype=float).reshape(len(found), -1)
        self.open: dict[int, Observed] = {}
        allowed = (np.arange(len(found)) >= self.tried) & may_begin
        for trial in self.trials:
            diverged = trial.curve.scores and not trial.scores
            # A trial that was pruned cannot go on, and is not to be chosen.
            if trial.curve.state in (CurveState.FAILED, CurveState.PRUNED) or diverged:
                continue
            allowed[trial.cell] |= trial.complete or trial.curve.state is not CurveState.ENDED
            if trial.curve.state is CurveState.PAUSED or trial.reached:
                other = self.open.get(trial.cell)
                if other is None or (trial.reached, trial.newest) > (other.reached, other.newest):
                    self.open[trial.cell] = trial
        self.beliefs = Beliefs(
            constants,
            pool.embedding,
            self.points,
            self.lasts,
            allowed,
            self.trials,
            horizon.steps(horizon.epochs),
        )

    def regrets(self) -> Floats:
        """[j] Expected regrets of the configurations of the beliefs, in standard deviations between seeds.

        By how much the best prediction is expected to exceed each, once all were trained to their end.
        """
        beliefs = self.beliefs
        found: Floats = (beliefs.best_expected() - beliefs.prediction.mean) / beliefs.seed_deviation
        return found

    def complete(self) -> NDArray[np.bool_]:
        """[j] Which of the configurations of the beliefs were trained to their end."""
        found = {one.cell for one in self.trials if one.complete}
        return np.array([cell in found for cell in self.beliefs.cells], dtype=bool)

    def untried(self) -> NDArray[np.bool_]:
        """[j] Which of the configurations of the beliefs have no trial."""
        return self.beliefs.cells >= self.tried

    def values_untried(self) -> NDArray[np.bool_]:
        """[j] Which of the configurations of the beliefs have a value that no trial has, of a few values."""
        found = self.untried()
        new = np.zeros_like(found)
        for name in {name for labels in self.labels for name in labels}:
            values = [repr(labels.get(name)) for labels in self.labels]
            if len(set(values)) <= _FEW_VALUES:
                missing = set(values) - set(values[: self.tried])
                new |= np.array([values[cell] in missing for cell in self.beliefs.cells], dtype=bool)
        return found & new

    def count_untried(self) -> int | None:
        """How many configurations of the space have no trial; None for infinitely many."""
        return self._pool.count_untried(self._tried_keys)
