"""Grid search: every cell of a list, each once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial
from typing_extensions import override

from sasrecf_tune.search.policy import Labels
from sasrecf_tune.search.strategies.history import History
from sasrecf_tune.search.strategies.space_sampler import SpaceExhausted, SpaceSampler


class GridSampler(SpaceSampler):
    """Proposes `cells` in their order, without those that the study has tried."""

    def __init__(
        self, history: History, distributions: Mapping[str, BaseDistribution], cells: Sequence[Labels]
    ) -> None:
        super().__init__(history, distributions)
        self._left = list(reversed(cells))

    @override
    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Labels:
        # A proposed cell is only removed by the next proposal, since its trial may fail to be written.
        while self._left and self._history.taken(self._left[-1], trial.number):
            self._left.pop()
        if not self._left:
            raise SpaceExhausted("every cell has been tried")
        labels = self._left[-1]
        self._history.add(trial.number, labels)
        return dict(labels)
