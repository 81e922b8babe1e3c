"""Ends trials that would not come near the best one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from sasrecf_tune.extrapolation import Extrapolation, sign_of
from sasrecf_tune.space import SearchSpace

if TYPE_CHECKING:
    from optuna.study import Study


class CurvePruner(BasePruner):
    """Prunes a trial when even a lucky one, `luck` deviations above what is predicted, stays below the best.

    Never before `warmup` epochs are over and `startup` trials are complete.
    """

    def __init__(self, space: SearchSpace, warmup: int, startup: int, luck: float) -> None:
        self._extrapolation = Extrapolation(space)
        self._warmup = warmup
        self._startup = startup
        self._luck = luck

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """See BasePruner."""
        if trial.last_step is None or trial.last_step < self._warmup:
            return False
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(complete) < self._startup:
            return False
        sign = sign_of(study)
        mean, deviation = self._extrapolation.predict([trial], complete, sign)
        return bool(mean[0] + self._luck * deviation[0] < self._extrapolation.best(complete, sign))
