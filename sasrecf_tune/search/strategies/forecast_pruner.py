"""The default pruner: stops a trial whose forecast score does not reach the best one."""

from __future__ import annotations

from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from typing_extensions import override

from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.search.strategies.curve_forecast import CurveForecaster, sign_of
from sasrecf_tune.search.strategies.parameter_vectors import Embedding


class ForecastPruner(BasePruner):
    """Compares the forecast final score of a trial (`CurveForecaster`) with the best completed trial.

    Pruners that compare trials at the same epoch (`optuna.pruners.MedianPruner`) stop trials that start
    slowly and end best. If the sampler proposes only good trials, they also stop half of those.

    Args:
        deviations: A trial goes on while its forecast plus so many standard deviations reaches the best.
        n_startup_trials: Completed trials before any trial is pruned.
        n_warmup_steps: Epochs in which no trial is pruned.
    """

    def __init__(
        self, space: SearchSpace, deviations: float, n_startup_trials: int, n_warmup_steps: int
    ) -> None:
        self._forecaster = CurveForecaster(Embedding(space))
        self._deviations = deviations
        self._startup = n_startup_trials
        self._warmup = n_warmup_steps
        self._best = 0, 0.0  # the number of completed trials, and the best score among them

    @override
    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        if trial.last_step is None or trial.last_step <= self._warmup:
            return False
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(complete) < self._startup:
            return False
        sign = sign_of(study)
        forecast = self._forecaster.forecast([trial], complete, sign)
        if self._best[0] != len(complete):
            best = max(sign * value for other in complete if (value := other.value) is not None)
            self._best = len(complete), best
        return bool(forecast.best[0] + self._deviations * forecast.deviation[0] < self._best[1])
