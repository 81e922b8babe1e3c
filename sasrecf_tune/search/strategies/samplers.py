"""Optuna samplers that never propose a cell twice, nor one that cannot exist.

One class wraps any Optuna sampler (wrapping instead of inheriting, as optuna.samplers does in
PartialFixedSampler); another walks a finite grid. What they propose depends only on the seed, the
trial's number and the study's history, so a resumed study goes on as if it had never stopped.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optuna.samplers import BaseSampler, RandomSampler

from sasrecf_tune.errors import InputError, Interrupted
from sasrecf_tune.inputs.literals import Scalar
from sasrecf_tune.inputs.search_space import SearchSpace

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial, TrialState

Labels = dict[str, Scalar]
Cell = tuple[Scalar, ...]
# A model-based sampler may propose the same cell for ever; random ones then take over.
_TRIES = 10
_RANDOM_TRIES = 500
# What samplers import when they are first needed, which may take seconds.
_LATE_IMPORTS = {
    "best-first": ("scipy.special", "sklearn.gaussian_process"),
    "gp": ("torch", "scipy.optimize", "scipy.stats"),
    "qmc": ("scipy.stats",),
}


class SpaceExhausted(Interrupted):
    """Every cell of a finite space has been proposed."""


class History:
    """Which cells the study holds already, so that no sampler has to read all trials for each proposal."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._cells: dict[Cell, int] = {}
        self._of: dict[int, Cell] = {}

    def cell(self, labels: Mapping[str, Scalar]) -> Cell:
        """The values of `labels` in the space's order, each as its cell has it: Optuna calculates multiples
        that differ from it in the last binary digit."""
        return tuple(self._space.encode(self._space.decode(labels)).values())

    def add(self, number: int, labels: Mapping[str, Scalar]) -> None:
        """Trial `number` has these labels, and no others; incomplete ones are left out."""
        if all(name in labels for name in self._space.names):
            cell = self.cell(labels)
            before = self._of.get(number, cell)
            if before != cell and self._cells.get(before) == number:
                del self._cells[before]  # it was proposed, but the trial could not be written
            self._of[number] = cell
            self._cells.setdefault(cell, number)

    def fill(self, trials: Sequence[FrozenTrial]) -> None:
        """Take in the cells that `trials`, in whatever state, hold."""
        for trial in trials:
            self.add(trial.number, trial.params or trial.system_attrs.get("fixed_params", {}))

    def taken(self, labels: Mapping[str, Scalar], number: int) -> bool:
        """Whether a trial other than `number` has this cell."""
        return self._cells.get(self.cell(labels), number) != number


class SpaceSampler(BaseSampler):
    """Proposes all parameters of the space together."""

    def __init__(self, history: History, space: Mapping[str, BaseDistribution]) -> None:
        self._history = history
        self._space = dict(space)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """See BaseSampler."""
        return dict(self._space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """See BaseSampler."""
        raise InputError(f"the study asks for {param_name!r}, which is not in its space")


class GridSampler(SpaceSampler):
    """The given cells, in their order, each once."""

    def __init__(
        self, history: History, space: Mapping[str, BaseDistribution], cells: Sequence[Labels]
    ) -> None:
        super().__init__(history, space)
        self._left = list(reversed(cells))

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Labels:
        """See BaseSampler."""
        # What is proposed is passed over when the next trial asks: this one may fail to be written.
        while self._left and self._history.taken(self._left[-1], trial.number):
            self._left.pop()
        if not self._left:
            raise SpaceExhausted("every cell has been tried")
        labels = self._left[-1]
        self._history.add(trial.number, labels)
        return dict(labels)


class DedupSampler(SpaceSampler):
    """Any Optuna sampler, asked again while it proposes a taken or an impossible cell.

    `make` builds the inner sampler for a trial's number. `feasible` says whether labels can exist.
    `cells` gives all feasible cells of a finite space of moderate size, else None: the last resort
    is a random one of those left.
    """

    def __init__(
        self,
        history: History,
        space: Mapping[str, BaseDistribution],
        make: Callable[[int], BaseSampler],
        feasible: Callable[[Labels], bool],
        cells: Callable[[], Sequence[Labels]] | None,
        seed: int,
    ) -> None:
        super().__init__(history, space)
        self._make = make
        self._feasible = feasible
        self._cells = cells
        self._seed = seed
        self._inner: tuple[int, BaseSampler] | None = None

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """See BaseSampler."""
        self._inner_for(trial.number).before_trial(study, trial)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """See BaseSampler."""
        self._inner_for(trial.number).after_trial(study, trial, state, values)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Labels:
        """See BaseSampler."""
        inner = self._inner_for(trial.number)
        own_space = inner.infer_relative_search_space(study, trial)
        for attempt in range(_TRIES + _RANDOM_TRIES):
            if attempt == _TRIES:
                inner, own_space = RandomSampler(seed=self._seed + trial.number), {}
            labels = inner.sample_relative(study, trial, own_space)
            for name, distribution in self._space.items():
                if name not in labels:
                    labels[name] = inner.sample_independent(study, trial, name, distribution)
            if self._feasible(labels) and not self._history.taken(labels, trial.number):
                break
        else:
            labels = self._any_left(trial.number)
        self._history.add(trial.number, labels)
        return labels

    def _inner_for(self, number: int) -> BaseSampler:
        if self._inner is None or self._inner[0] != number:
            self._inner = (number, self._make(number))
        return self._inner[1]

    def _any_left(self, number: int) -> Labels:
        left = (
            [cell for cell in self._cells() if not self._history.taken(cell, number)] if self._cells else []
        )
        if not left:
            raise SpaceExhausted("no further configuration could be found that is possible and new")
        return dict(random.Random(self._seed + number).choice(left))


def load(name: str) -> None:
    """Import what sampler `name` needs, before others have to wait for it."""
    for module in _LATE_IMPORTS.get(name, ()):
        importlib.import_module(module)


def optuna_sampler(name: str, seed: int) -> Callable[[int], BaseSampler]:
    """How to build Optuna's sampler `name` ("tpe", "gp", "random", "cmaes" or "qmc") for a trial's number.

    Raises:
        InputError: the sampler needs a package that is not installed.
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
                import cmaes  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
            except ImportError as error:
                raise InputError(
                    "the sampler cmaes needs the package `cmaes`", where="--sampler", fix="pip install cmaes"
                ) from error
            return lambda number: samplers.CmaEsSampler(seed=seed + number, warn_independent_sampling=False)
        case "qmc":
            # A low-discrepancy sequence is one sequence: its seed must not change with the trial.
            return lambda _: samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
    raise InputError(f"unknown sampler {name!r}", where="--sampler")
