"""The default pruner: stops a trial that is not expected to reach the best one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.search.strategies.curve_forecast import CurveForecaster, sign_of
from sasrecf_tune.search.strategies.embedding import Embedding

if TYPE_CHECKING:
    from optuna.study import Study


class ForecastPruner(BasePruner):
    """Compares what a trial would end with to the best that was reached (see `CurveForecaster`).

    A trial goes on while its forecast and `deviations` standard deviations reach the best completed trial.
    None is pruned up to epoch `n_warmup_steps`, nor before `n_startup_trials` are complete. Pruners that
    compare a trial with others at the same epoch (optuna.pruners.MedianPruner) stop slow starters that end
    as the best, and where a sampler proposes good trials alone, half of the good ones.
    """

    def __init__(
        self, space: SearchSpace, deviations: float, n_startup_trials: int, n_warmup_steps: int
    ) -> None:
        self._extrapolation = CurveForecaster(Embedding(space))
        self._deviations = deviations
        self._startup = n_startup_trials
        self._warmup = n_warmup_steps
        self._best = 0, 0.0  # of so many completed trials

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """See BasePruner."""
        if trial.last_step is None or trial.last_step <= self._warmup:
            return False
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(complete) < self._startup:
            return False
        sign = sign_of(study)
        forecast = self._extrapolation.forecast([trial], complete, sign)
        if self._best[0] != len(complete):
            best = max(sign * value for one in complete if (value := one.value) is not None)
            self._best = len(complete), best
        return bool(forecast.best[0] + self._deviations * forecast.deviation[0] < self._best[1])
