"""The default search: the most promising configuration next, by a model of all that has been seen.

A Gaussian process over the parameters predicts the score of every configuration not yet tried; the one
with the highest expected improvement is next (Jones, Schonlau and Welch, "Efficient global optimization of
expensive black-box functions", 1998). Nothing is tried twice, so a search that runs to its end has covered
a grid, and one that is stopped has its best result so far.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from sasrecf_tune.coordinates import Coordinates
from sasrecf_tune.extrapolation import Extrapolation, sign_of
from sasrecf_tune.samplers import History, Labels, OwnSampler, SpaceExhausted
from sasrecf_tune.space import SearchSpace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from optuna.distributions import BaseDistribution
    from optuna.study import Study

    Floats = NDArray[np.float64]

# Of a score's variance over the space, what the seed of a training makes of it.
_NOISE = 0.15
# A model of more trials than this takes longer than it repays; the best and the last are kept.
_MODELLED = 400


class BestFirstSampler(OwnSampler):
    """Proposes the candidate of highest expected improvement.

    `candidates` gives configurations to choose from, as labels: all cells of a small grid, or a sample.
    `start` is what is proposed first.
    """

    def __init__(
        self,
        history: History,
        distributions: Mapping[str, BaseDistribution],
        space: SearchSpace,
        candidates: Callable[[random.Random, Sequence[FrozenTrial]], Sequence[Labels]],
        start: Mapping[str, Any],
        extrapolation: Extrapolation,
        seed: int,
    ) -> None:
        super().__init__(history, distributions)
        self._decode = space.decode
        self._coordinates = Coordinates(space)
        self._candidates = candidates
        self._start = start
        self._extrapolation = extrapolation
        self._seed = seed

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Labels:
        """See BaseSampler."""
        trials = [one for one in study.get_trials(deepcopy=False) if one.number != trial.number]
        draw = random.Random(self._seed * 1_000_003 + trial.number)
        left = [labels for labels in self._candidates(draw, trials) if not self._history.taken(labels, trial.number)]
        if not left:
            raise SpaceExhausted("no further configuration could be found that is possible and new")
        draw.shuffle(left)  # so that ties are broken by the seed
        labels = max(zip(self._worth(study, trials, left), left, strict=True), key=lambda pair: pair[0])[1]
        self._history.add(trial.number, labels)
        return dict(labels)

    def _worth(self, study: Study, trials: Sequence[FrozenTrial], left: Sequence[Labels]) -> list[float]:
        import numpy as np

        points = np.array([self._coordinates.point(self._decode(labels)) for labels in left])
        seen, scores = self._extrapolation.scores(trials, sign_of(study))
        if not seen:
            start = np.array(self._coordinates.point(self._start))
            return list(-((points - start) ** 2).sum(axis=1))
        running = [
            one
            for one in trials
            if one.state == TrialState.RUNNING and one.params and not one.intermediate_values
        ]
        kept = np.argsort(scores)[-_MODELLED:]
        x = self._extrapolation.points(seen)[kept]
        return list(expected_improvement(x, scores[kept], self._extrapolation.points(running), points))


def expected_improvement(x: Floats, y: Floats, running: Floats, points: Floats) -> Floats:
    """[points]: by how much each is expected to be better than the best of `x`, in deviations of `y`.

    `x` [n, d] have scores `y` [n]; `running` [m, d] have none yet and are taken at what the model predicts.
    """
    import numpy as np
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
