"""The default sampler: Bayesian optimization with a Gaussian process and expected improvement."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from typing_extensions import override

from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.search.policy import Labels
from sasrecf_tune.search.strategies.candidates import Candidates
from sasrecf_tune.search.strategies.curve_forecast import CurveForecaster, sign_of
from sasrecf_tune.search.strategies.first_trials import FIRST_TRIALS, FirstTrials
from sasrecf_tune.search.strategies.history import History
from sasrecf_tune.search.strategies.parameter_vectors import Embedding
from sasrecf_tune.search.strategies.space_sampler import SpaceExhausted, SpaceSampler

Floats = NDArray[np.float64]

# The variance that the seed of a training causes, as a share of the scores' variance over the space.
_NOISE = 0.15
# The process is fitted to the best trials: with more than this it takes longer than it saves.
_MAX_FITTED = 400
# How many of the best configurations have candidates near them, in a space too large to list.
_CENTERS = 5


class BestFirstSampler(SpaceSampler):
    """A Gaussian-process expected-improvement sampler over the space's cells.

    A Gaussian process predicts the score of every candidate that has not been tried, from the scores of the
    trials that have ended and the forecast scores of those that run or were pruned. The candidate with the
    highest expected improvement is proposed. The first trials, and all before a score is known, are spread
    over the space instead, so that parallel workers do not begin with neighbours. No cell is proposed twice,
    so a search of a finite space that is not stopped becomes a grid search.

    Args:
        start: Parameters as RecBole reads them; the first proposal is the candidate next to them.
        seed: Of candidates, and of the order among candidates with equal expected improvement.

    Source:
        Jones, Schonlau and Welch, "Efficient global optimization of expensive black-box functions", 1998.
    """

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
        self._embedding = Embedding(space)
        self._candidates = candidates
        self._first = FirstTrials(space, self._embedding, start)
        self._start_labels = space.encode(start)
        self._forecaster = CurveForecaster(self._embedding)
        self._seed = seed

    @override
    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Labels:
        others = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number and t.params]
        scored, scores = self._scored(others, sign_of(study)) if trial.number >= FIRST_TRIALS else ([], None)
        rng = random.Random(self._seed * 1_000_003 + trial.number)
        untried = self._untried(rng, [best.params for best in scored[:_CENTERS]], trial.number)
        if scores is None:
            labels = self._first.next([t.params for t in others if t.number < trial.number], untried)
        else:
            points = np.array([self._embedding.embed_labels(labels) for labels in untried])
            unscored = [t for t in others if t.state == TrialState.RUNNING and not t.intermediate_values]
            x, running = self._forecaster.points(scored), self._forecaster.points(unscored)
            labels = untried[int(expected_improvement(x, scores, running, points).argmax())]
        self._history.add(trial.number, labels)
        return dict(labels)

    def _scored(self, trials: Sequence[FrozenTrial], sign: int) -> tuple[list[FrozenTrial], Floats | None]:
        """The trials with a score or forecast, best first, and these times `sign`; None without any."""
        scored, scores = self._forecaster.scores(trials, sign)
        order = np.argsort(-scores, kind="stable")[:_MAX_FITTED]
        return [scored[index] for index in order], scores[order] if scored else None

    def _untried(self, rng: random.Random, best: Sequence[Labels], number: int) -> list[Labels]:
        """Candidates that have not been tried, in random order."""

        def taken(labels: Labels) -> bool:
            return self._history.taken(labels, number)

        candidates = self._candidates.draw(rng, best)
        if self._candidates.feasible(self._start_labels):
            candidates.append(self._start_labels)
        untried = [labels for labels in candidates if not taken(labels)]
        untried = untried or self._candidates.listed_without(taken)
        if not untried:
            raise SpaceExhausted("no untried feasible configuration was found")
        rng.shuffle(untried)
        return untried


def expected_improvement(x: Floats, y: Floats, running: Floats, points: Floats) -> Floats:
    """The expected improvement of each point over the best trial.

    Args:
        x: Trials with a score, as points [n, d].
        y: Their scores [n], larger is better.
        running: Trials without a score [m, d]; the process predicts theirs.
        points: Candidates [k, d].

    Returns:
        [k], in standard deviations of `y`.
    """
    from scipy.special import ndtr
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern

    def fit(x: Floats, y: Floats) -> GaussianProcessRegressor:
        return GaussianProcessRegressor(Matern(nu=2.5), alpha=_NOISE, optimizer=None).fit(x, y)

    middle, spread = np.median(y), max(float(y.std()), 0.1 * abs(float(np.median(y))), 1e-12)
    # Clipped below, since very bad scores would distort the process where scores are good.
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
