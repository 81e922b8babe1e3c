"""The default search: the most promising configuration next, by a model of all that has been seen.

A Gaussian process over the parameters predicts the score of every configuration not yet tried; the one
with the highest expected improvement is next (Jones, Schonlau and Welch, "Efficient global optimization of
expensive black-box functions", 1998). Nothing is tried twice, so a search that runs to its end has covered
a grid, and one that is stopped has its best result so far.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.search.strategies.candidates import Candidates
from sasrecf_tune.search.strategies.curve_forecast import CurveForecaster, sign_of
from sasrecf_tune.search.strategies.embedding import Embedding
from sasrecf_tune.search.strategies.samplers import History, Labels, SpaceExhausted, SpaceSampler

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study

Floats = NDArray[np.float64]

# Of a score's variance over the space, what the seed of a training makes of it.
_NOISE = 0.15
# A model of more trials than this takes longer than it repays; the best are kept.
_MODELLED = 400
# The best so far, near which candidates are drawn in a space too large to look at as a whole.
_LOOKED_AROUND = 5


class BestFirstSampler(SpaceSampler):
    """Proposes the candidate of highest expected improvement; `start` (RecBole values) is near the first."""

    def __init__(
        self,
        history: History,
        distributions: Mapping[str, BaseDistribution],
        space: SearchSpace,
        candidates: Candidates,
        start: Mapping[str, Any],
        seed: int,
    ) -> None:
        super().__init__(history, distributions)
        self._coordinates = Embedding(space)
        self._candidates = candidates
        self._start = start
        self._start_labels = space.encode(start)
        self._extrapolation = CurveForecaster(self._coordinates)
        self._seed = seed

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Labels:
        """See BaseSampler."""
        trials = [
            one for one in study.get_trials(deepcopy=False) if one.number != trial.number and one.params
        ]
        seen, scores = self._extrapolation.scores(trials, sign_of(study))
        order = np.argsort(-scores, kind="stable")[:_MODELLED]
        seen, scores = [seen[index] for index in order], scores[order]
        draw = random.Random(self._seed * 1_000_003 + trial.number)
        left = self._left(draw, [one.params for one in seen[:_LOOKED_AROUND]], trial.number)
        points = np.array([self._coordinates.of(labels) for labels in left])
        if seen:
            running = [
                one for one in trials if one.state == TrialState.RUNNING and not one.intermediate_values
            ]
            x, unknown = self._extrapolation.points(seen), self._extrapolation.points(running)
            worth = expected_improvement(x, scores, unknown, points)
        else:
            worth = -((points - np.array(self._coordinates.point(self._start))) ** 2).sum(axis=1)
        labels = left[int(worth.argmax())]
        self._history.add(trial.number, labels)
        return dict(labels)

    def _left(self, draw: random.Random, best: Sequence[Labels], number: int) -> list[Labels]:
        """New candidates in an order that the seed decides, so that it breaks ties."""

        def taken(labels: Labels) -> bool:
            return self._history.taken(labels, number)

        candidates = self._candidates(draw, best)
        if self._candidates.feasible(self._start_labels):
            candidates.append(self._start_labels)  # which a sample need not hold
        left = [labels for labels in candidates if not taken(labels)]
        left = left or self._candidates.all_left(taken)
        if not left:
            raise SpaceExhausted("no further configuration could be found that is possible and new")
        draw.shuffle(left)
        return left


def expected_improvement(x: Floats, y: Floats, running: Floats, points: Floats) -> Floats:
    """[points]: by how much each is expected to be better than the best of `x`, in deviations of `y`.

    `x` [n, d] have scores `y` [n]; `running` [m, d] have none yet and are taken at what the model predicts.
    """
    from scipy.special import ndtr
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern

    def fit(x: Floats, y: Floats) -> GaussianProcessRegressor:
        return GaussianProcessRegressor(Matern(nu=2.5), alpha=_NOISE, optimizer=None).fit(x, y)

    middle, spread = np.median(y), max(float(y.std()), 0.1 * abs(float(np.median(y))), 1e-12)
    # How bad a bad one is matters little, and would bend the model where it is good.
    y = np.clip((y - middle) / spread, -1.5, None)
    model = fit(x, y)
    if len(running):
        x, y = np.vstack([x, running]), np.concatenate([y, model.predict(running)])
        model = fit(x, y)
    incumbent = model.predict(x).max()
    mean, deviation = model.predict(points, return_std=True)
    deviation = np.maximum(deviation, 1e-9)
    z = (mean - incumbent) / deviation
    gain: Floats = deviation * (z * ndtr(z) + np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi))
    return gain
