"""Optuna's samplers and pruners as policies: a trial goes on epoch by epoch until it is pruned."""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import Trial, TrialState

from benchmarks.search.simulator import best_score
from sasrecf_tune.inputs.literals import Scalar
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.search.policy import Curve, CurveState, Finish, SearchPolicy, Step
from sasrecf_tune.search.strategies.distributions import distributions


class OptunaPolicy(SearchPolicy):
    """Asks a study in memory, which keeps what it was told.

    Args:
        space: What the sampler draws from.
        sampler: May propose a configuration again, as it does in Optuna.
        pruner: Is asked after each epoch; a pruned trial never goes on.
        trials: The search ends after this many.
        queue: Configurations to train first, in this order.
    """

    def __init__(
        self,
        space: SearchSpace,
        sampler: BaseSampler,
        pruner: BasePruner,
        trials: int,
        queue: Sequence[dict[str, Scalar]] = (),
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._distributions = distributions(space)
        self._study: Study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
        for labels in queue:
            self._study.enqueue_trial(labels)
        self._limit = trials
        self._open: dict[int, Trial] = {}  # by the number of the curve
        self._begun = 0

    def next_step(self, curves: Sequence[Curve]) -> Step | Finish:
        """Tell what is new; continue the trial at its `until` unless it is pruned, else begin one."""
        for one in curves:
            trial = self._open.get(one.number)
            if trial is None or (one.state is CurveState.RUNNING and len(one.scores) < one.until):
                continue
            epoch = len(one.scores)
            trial.report(one.scores[epoch], epoch)
            if one.state is CurveState.ENDED:
                self._study.tell(trial, best_score(one))
            elif trial.should_prune():
                self._study.tell(trial, state=TrialState.PRUNED)
            else:
                return Step(dict(one.labels), epoch + 1, one.number)
            del self._open[one.number]
        if self._begun == self._limit:
            return Finish(f"{self._limit} trials")
        trial = self._study.ask(self._distributions)
        self._open[len(curves)] = trial
        self._begun += 1
        return Step(dict(trial.params), 1)
