"""The base class of the samplers that propose all parameters of a space together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial
from typing_extensions import override

from sasrecf_tune.errors import InputError, Interrupted
from sasrecf_tune.search.strategies.history import History


class SpaceExhausted(Interrupted):
    """The sampler has no configuration left: none that is feasible and has not been tried."""


class SpaceSampler(BaseSampler):
    """Proposes all parameters together; a subclass defines `sample_relative`.

    The proposals of a subclass depend on nothing but its seed, the number of the trial and the trials of the
    study, so that a study that is stopped and resumed has the same trials as one that is not.

    Args:
        history: The cells that the study has tried; the subclass adds what it proposes.
    """

    def __init__(self, history: History, distributions: Mapping[str, BaseDistribution]) -> None:
        self._history = history
        self._distributions = dict(distributions)

    @override
    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self._distributions)

    @override
    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise InputError(f"the study asks for {param_name!r}, which is not in its space")
