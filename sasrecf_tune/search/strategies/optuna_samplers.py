"""Optuna's samplers, wrapped so that they propose no cell twice and none that is infeasible."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Mapping, Sequence

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from typing_extensions import override

from sasrecf_tune.errors import InputError
from sasrecf_tune.search.policy import Labels
from sasrecf_tune.search.strategies.history import History
from sasrecf_tune.search.strategies.space_sampler import SpaceExhausted, SpaceSampler

# A model-based sampler may propose the same cell again and again; after these tries, cells are random.
_TRIES = 10
_RANDOM_TRIES = 500
# What samplers import when they are first used, which may take seconds.
_LATE_IMPORTS = {
    "freeze-thaw": ("scipy.special", "scipy.linalg", "threadpoolctl"),
    "gp": ("torch", "scipy.optimize", "scipy.stats"),
    "qmc": ("scipy.stats",),
}


class DedupSampler(SpaceSampler):
    """Asks a sampler of Optuna again while it proposes a tried or an infeasible cell.

    Args:
        make: Makes Optuna's sampler for the number of a trial.
        feasible: Whether labels satisfy all constraints.
        cells: All feasible cells, to draw from if the sampler finds no new one; None if not listed.
    """

    def __init__(
        self,
        history: History,
        distributions: Mapping[str, BaseDistribution],
        make: Callable[[int], BaseSampler],
        feasible: Callable[[Labels], bool],
        cells: Callable[[], Sequence[Labels]] | None,
        seed: int,
    ) -> None:
        super().__init__(history, distributions)
        self._make = make
        self._feasible = feasible
        self._cells = cells
        self._seed = seed
        self._inner: tuple[int, BaseSampler] | None = None

    @override
    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._inner_for(trial.number).before_trial(study, trial)

    @override
    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._inner_for(trial.number).after_trial(study, trial, state, values)

    @override
    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Labels:
        inner = self._inner_for(trial.number)
        relative_space = inner.infer_relative_search_space(study, trial)
        for attempt in range(_TRIES + _RANDOM_TRIES):
            if attempt == _TRIES:
                inner, relative_space = RandomSampler(seed=self._seed + trial.number), {}
            labels = inner.sample_relative(study, trial, relative_space)
            for name, distribution in self._distributions.items():
                if name not in labels:
                    labels[name] = inner.sample_independent(study, trial, name, distribution)
            if self._feasible(labels) and not self._history.taken(labels, trial.number):
                break
        else:
            labels = self._draw_untried(trial.number)
        self._history.add(trial.number, labels)
        return labels

    def _inner_for(self, number: int) -> BaseSampler:
        if self._inner is None or self._inner[0] != number:
            self._inner = (number, self._make(number))
        return self._inner[1]

    def _draw_untried(self, number: int) -> Labels:
        cells = self._cells() if self._cells else []
        untried = [cell for cell in cells if not self._history.taken(cell, number)]
        if not untried:
            raise SpaceExhausted("no untried feasible configuration was found")
        return dict(random.Random(self._seed + number).choice(untried))


def import_sampler(name: str) -> None:
    """Import the packages that the sampler `name` would import with its first proposal."""
    for module in _LATE_IMPORTS.get(name, ()):
        importlib.import_module(module)


def optuna_sampler(name: str, seed: int) -> Callable[[int], BaseSampler]:
    """A function that makes Optuna's sampler `name` for the number of a trial.

    Raises:
        InputError: a package that the sampler needs is not installed.
    """
    import warnings

    from optuna import samplers
    from optuna.exceptions import ExperimentalWarning

    warnings.filterwarnings("ignore", category=ExperimentalWarning)
    match name:
        case "tpe":
            return lambda number: samplers.TPESampler(seed=seed + number)
        case "random":
            return lambda number: samplers.RandomSampler(seed=seed + number)
        case "gp":
            return lambda number: samplers.GPSampler(seed=seed + number, deterministic_objective=False)
        case "cmaes":
            try:
                import cmaes  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: F401
            except ImportError as error:
                raise InputError(
                    "the sampler cmaes needs the package `cmaes`", where="--sampler", fix="pip install cmaes"
                ) from error
            from sasrecf_tune.storage.database.optuna_internals import ReplayingCmaEsSampler

            return lambda number: ReplayingCmaEsSampler(seed=seed + number, warn_independent_sampling=False)
        case "qmc":
            # Trials are the points of one low-discrepancy sequence, so the seed is the same for all.
            return lambda _: samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
    raise InputError(f"unknown sampler {name!r}", where="--sampler")
