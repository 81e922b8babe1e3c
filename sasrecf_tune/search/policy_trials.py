"""The trials of a study whose policy decides which of them is trained next, and up to which epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from sasrecf_tune.analysis.search_summary import SearchSummary
from sasrecf_tune.messages import Report, Result
from sasrecf_tune.search.curves import CurveReader
from sasrecf_tune.search.paused_checkpoints import PausedCheckpoints
from sasrecf_tune.search.policy import (
    Curve,
    CurveState,
    Finish,
    PredictingPolicy,
    SearchPolicy,
    Step,
    count_begun,
)
from sasrecf_tune.search.search_attributes import shortened
from sasrecf_tune.search.study import TrialLost, TuneStudy
from sasrecf_tune.search.trial_attributes import PAUSED, UNTIL, Pause, is_paused
from sasrecf_tune.storage.database.ownership import owner_of
from sasrecf_tune.trials import TrialRecord

# How long a run without anything to do relies on an answer, while other runs change the study.
_ANSWER_SECONDS = 5.0
# The best trial is trained to its end when no more time is left than so many times what that is expected to
# take, which includes loading its checkpoint and the test.
_RESERVE = 1.25


class PolicyTrials:
    """Asks a policy, and begins, continues and pauses trials as it says.

    Args:
        policy: Is asked for each step.
        study: The study.
        checkpoints: Of the paused trials.
        distributions: The space, as Optuna's distributions.
        limit: How many trials may begin, those of earlier and other runs included.
        seconds_left: The time until the search ends for another reason than the policy.

    Attributes:
        finish: The policy's last answer, if it was that nothing is worth starting; None after any change.
    """

    def __init__(
        self,
        policy: SearchPolicy,
        study: TuneStudy,
        checkpoints: PausedCheckpoints,
        distributions: Mapping[str, BaseDistribution],
        limit: int,
        seconds_left: Callable[[], float] = lambda: math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.finish: Finish | None = None
        self._policy = policy
        self._study = study
        self._checkpoints = checkpoints
        self._distributions = dict(distributions)
        self._limit = limit
        self._seconds_left = seconds_left
        self._clock = clock
        self._asked_at = -math.inf
        self._reserve = 0.0  # seconds, to train the best trial to its end
        self._final: set[int] = set()  # trials that this run trains to their end, since a limit is near
        self._curves = CurveReader(list(distributions), checkpoints)
        self._last_reports: dict[int, Report] = {}  # of the trials that this run trains
        study.transact(self._drop_checkpoints)  # the limit may have been lowered

    def take(self, attributes: Callable[[dict[str, Any]], Mapping[str, Any]]) -> optuna.Trial | Finish:
        """Take the next trial: an interrupted one, or the one that the policy names, or a new one.

        Args:
            attributes: User attributes to record, from the trial's parameters as RecBole reads them.

        Returns:
            The trial, or why none is to start.
        """
        if self.finish is not None and not self._outdated():
            return self.finish

        def change() -> optuna.Trial | Finish:
            trials = self._study.trials()
            waiting = [trial for trial in trials if trial.state == TrialState.WAITING]
            interrupted = next((trial for trial in waiting if self._is_interrupted(trial)), None)
            if interrupted is not None:
                return self._start(interrupted.number, None, attributes)
            answer = self._ask(self._read(trials))
            if isinstance(answer, Finish):
                return answer
            if answer.number is not None:
                return self._start(answer.number, answer.until, attributes)
            return self._begin(answer, attributes)

        found = self._study.transact(change)
        self._asked_at = self._clock()
        self.finish = found if isinstance(found, Finish) else None
        return found

    def continues(self, trial: optuna.Trial, report: Report) -> bool:
        """Whether a trial that this run trains goes on after its report, which has been recorded."""
        self.finish = None
        number = trial.number
        self._last_reports[number] = report
        if report.epoch < report.continues_after:
            return True
        if report.epoch < self._until(number) and (
            number in self._final or self._seconds_left() > self._reserve
        ):
            return True
        curves = self._read(self._study.trials(), asked=number)
        answer = self._ask(curves)
        if not isinstance(answer, Step) or answer.number != number:
            return False
        self._study.storage.set_trial_system_attr(number, UNTIL, answer.until)
        return True

    def pause(self, trial: optuna.Trial, outcome: Result, log: Path | None = None) -> TrialRecord:
        """Record that a worker has returned a trial that is paused.

        Raises:
            TrialLost: It was reassigned to another run.
        """
        number = trial.number
        pause = self._checkpoints.describe(outcome)

        def change() -> bool:
            if not self._study.peers.owns(number):
                return False
            self._study.record_attributes(trial, outcome, log)
            trial.set_user_attr(PAUSED, dict(pause))
            self._study.storage.set_trial_state_values(number, TrialState.WAITING)
            self._drop_checkpoints()
            return True

        owned = self._study.transact(change)
        self._study.peers.release(number)
        self.forget(number)
        if not owned:
            raise TrialLost
        return self._study.record(number)

    def summarize(self, record: bool) -> SearchSummary | None:
        """What the search has found so far, which is recorded if `record`; None if the policy cannot say."""
        policy = self._policy
        if not isinstance(policy, PredictingPolicy):
            return None

        def change() -> SearchSummary | None:
            summary = policy.summarize(self._read(self._study.trials()))
            if summary is not None:
                summary = shortened(summary, self._study.records(), self._study.maximize)
                if record:
                    self._study.record_summary(summary)
            return summary

        return self._study.transact(change)

    def forget(self, number: int) -> None:
        """A trial is not trained by this run any more."""
        self.finish = None
        self._last_reports.pop(number, None)
        self._final.discard(number)

    def _ask(self, curves: list[Curve]) -> Step | Finish:
        """The policy's next step; near a limit of the search, the step that trains a trial to its end."""
        left = self._seconds_left()
        if left < math.inf:
            final = self._policy.final_step(curves)
            self._reserve = _RESERVE * final.seconds if isinstance(final, Step) else 0.0
            if left <= self._reserve:
                if isinstance(final, Step) and final.number is not None:
                    self._final.add(final.number)
                return final
        answer = self._policy.next_step(curves)
        if self._may_not_begin(answer, curves):
            answer = self._policy.final_step(curves)
        if self._may_not_begin(answer, curves):
            many = f"all {self._limit} trials have begun"
            return Finish(many if self._limit > 1 else "the trial has begun", exhausted=True)
        return answer

    def _may_not_begin(self, answer: Step | Finish, curves: list[Curve]) -> bool:
        return isinstance(answer, Step) and answer.number is None and count_begun(curves) >= self._limit

    def _outdated(self) -> bool:
        return self._study.peers.shared and self._clock() - self._asked_at >= _ANSWER_SECONDS

    def _is_interrupted(self, trial: FrozenTrial) -> bool:
        """Whether a waiting trial is not paused; those of other programs may have fixed parameters only."""
        known = trial.params or trial.system_attrs.get("fixed_params", {})
        return not is_paused(trial) and all(name in known for name in self._distributions)

    def _start(
        self, number: int, until: int | None, attributes: Callable[[dict[str, Any]], Mapping[str, Any]]
    ) -> optuna.Trial:
        """Take a trial of the queue: one that was paused, interrupted, or put there by another program."""
        storage, waiting = self._study.storage, self._study.trials()[number]
        if not storage.set_trial_state_values(number, TrialState.RUNNING):
            raise ValueError(f"the policy names trial {number}, which is not paused")
        if waiting.user_attrs.get(PAUSED):
            storage.set_trial_user_attr(number, PAUSED, {})
        if until is not None:
            storage.set_trial_system_attr(number, UNTIL, until)
        for name, distribution in self._distributions.items():
            if name not in waiting.params:
                value = distribution.to_internal_repr(waiting.system_attrs["fixed_params"][name])
                storage.set_trial_param(number, name, value, distribution)
        return self._trial(number, attributes)

    def _begin(self, step: Step, attributes: Callable[[dict[str, Any]], Mapping[str, Any]]) -> optuna.Trial:
        trial = create_trial(
            state=TrialState.RUNNING,
            params=dict(step.labels),
            distributions=self._distributions,
            system_attrs={UNTIL: step.until},
        )
        self._study.optuna.add_trial(trial)
        return self._trial(len(self._study.trials()) - 1, attributes)

    def _trial(self, number: int, attributes: Callable[[dict[str, Any]], Mapping[str, Any]]) -> optuna.Trial:
        trial = optuna.Trial(self._study.optuna, number)
        params = self._study.record(number).params
        for key, value in attributes(params).items():
            if trial.user_attrs.get(key) != value:
                trial.set_user_attr(key, value)
        return trial

    def _read(self, trials: list[FrozenTrial], asked: int | None = None) -> list[Curve]:
        curves = self._curves.read(trials)
        for number, report in self._last_reports.items():
            curve = curves[number]
            last = max(curve.scores, default=0)
            until = min(curve.until, last) if number == asked else curve.until
            # A trial that has begun anew has not yet trained again all that is known of it.
            seconds = report.training_seconds or report.seconds if report.epoch == last else 0.0
            curves[number] = replace(curve, until=until, seconds=seconds)
        if self._study.peers.shared:
            for number, curve in curves.items():
                if self._is_kept_elsewhere(trials[number], curve):
                    # It is that run's to continue, which need not train its epochs again.
                    busy = max(curve.scores, default=0) + 1
                    curves[number] = replace(curve, state=CurveState.RUNNING, until=busy)
        return list(curves.values())

    def _is_kept_elsewhere(self, trial: FrozenTrial, curve: Curve) -> bool:
        """Whether a live run has the checkpoint of a paused trial that this run does not have."""
        if curve.state != CurveState.PAUSED or curve.checkpoint:
            return False
        pause: Pause = trial.user_attrs[PAUSED]
        return bool(pause.get("checkpoint")) and self._study.peers.is_at_work(owner_of(trial))

    def _until(self, number: int) -> int:
        return int(self._study.trials()[number].system_attrs.get(UNTIL, 0))

    def _drop_checkpoints(self) -> None:
        """Keep the limit on disk space, in a transaction: none of these trials is running."""
        worst = -math.inf if self._study.maximize else math.inf
        costs: dict[int, float] = {}
        pauses: dict[int, Pause] = {}
        for trial in filter(is_paused, self._study.trials()):
            scores = [worst, *filter(math.isfinite, trial.intermediate_values.values())]
            costs[trial.number] = -max(scores) if self._study.maximize else min(scores)
            pauses[trial.number] = trial.user_attrs[PAUSED]
        for number in self._checkpoints.drop_weakest(costs, pauses):
            without = {**pauses[number], "checkpoint": 0, "written": 0}
            self._study.storage.set_trial_user_attr(number, PAUSED, without)
