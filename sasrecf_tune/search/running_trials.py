"""The trials that a run has in training, from the queue to their outcome in the study."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from sasrecf_tune.errors import StorageError
from sasrecf_tune.messages import Decision, Failure, FailureKind, Job, Report, Result
from sasrecf_tune.search.callbacks import Callback
from sasrecf_tune.search.paused_checkpoints import PausedCheckpoints
from sasrecf_tune.search.plan import Plan
from sasrecf_tune.search.policy import Finish, SearchPolicy
from sasrecf_tune.search.policy_trials import PolicyTrials
from sasrecf_tune.search.retry_policy import should_retry
from sasrecf_tune.search.strategies.distributions import distributions
from sasrecf_tune.search.study import TrialLost, TuneStudy
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.files import disk_fix
from sasrecf_tune.storage.pending_results import PendingResult
from sasrecf_tune.trials import TrialRecord

# Epochs between two checkpoints: more than any trial has. Trials of a policy need no --checkpoint-every to be
# saved when the search is interrupted, as they are when they are paused.
_ONLY_AT_THE_END = 10**9


@dataclass
class RunningTrial:
    """A trial in training; `epoch` is the last one that was reported."""

    trial: optuna.Trial
    epoch: int = 0


class RunningTrials:
    """Starts trials, and records their outcomes or puts them back in the queue.

    Attributes:
        trials: The trials in training, by number.
    """

    def __init__(
        self,
        plan: Plan,
        study: TuneStudy,
        study_dir: StudyDirectory,
        callbacks: Sequence[Callback],
        policy: SearchPolicy | None = None,
        seconds_left: Callable[[], float] = lambda: math.inf,
    ) -> None:
        self._plan = plan
        self._study = study
        self._study_dir = study_dir
        self._callbacks = callbacks
        self._distributions = distributions(plan.space)
        # Of a confirmation: metrics of the trials of a search are of one seed each.
        self._per_user = plan.settings.search.per_user and plan.sampler == "confirmation"
        self._policy: PolicyTrials | None = None
        self._checkpoint_every = plan.settings.search.checkpoint_every
        if policy is not None:
            self._checkpoint_every = self._checkpoint_every or _ONLY_AT_THE_END
            keep = plan.settings.search.keep_paused
            checkpoints = PausedCheckpoints(study_dir, keep, study.peers.shared)
            self._policy = PolicyTrials(
                policy, study, checkpoints, self._distributions, plan.trials, seconds_left
            )
        self.trials: dict[int, RunningTrial] = {}

    def start(self) -> Job | None:
        """Take the next trial from the study.

        Returns:
            The job of training it; None where all trials of the plan have ended or are in training, or the
            policy starts none now.

        Raises:
            SpaceExhausted: no configuration is left.
        """
        trial: optuna.Trial | Finish | None
        if self._policy is not None:
            trial = self._policy.take(self._attributes)
        else:
            trial = self._study.ask(self._distributions, self._attributes, self._plan.trials)
        if trial is None or isinstance(trial, Finish):
            return None
        number, params = trial.number, self._plan.space.decode(trial.params)
        config = self._plan.config(params)
        self.trials[number] = RunningTrial(trial)
        for callback in self._callbacks:
            callback.on_trial_start(number, params)
        return Job(
            number=number,
            config=config | {"checkpoint_dir": str(self._study_dir.checkpoints)},
            engine=self._plan.settings.engine,
            log=self._study_dir.log(number),
            checkpoint=self._study_dir.checkpoint(number),
            resume_file=self._study_dir.unfinished(number),
            checkpoint_every=self._checkpoint_every,
            # It may have caused the failure of the trials that it was trained with, or they its failure.
            alone=self._study.failed_attempts(trial) > 0,
            per_user=self._study_dir.per_user(number) if self._per_user else None,
            known=max(self._study.trials()[number].intermediate_values, default=0),
        )

    @property
    def finish(self) -> Finish | None:
        """Why the policy starts no trial now; None if it may, or there is no policy."""
        return self._policy.finish if self._policy is not None else None

    def decide(self, number: int, report: Report) -> Decision:
        """Decide how a trial goes on after a report that has been recorded."""
        running = self.trials[number]
        if self._policy is None or self._policy.continues(running.trial, report):
            return Decision.CONTINUE
        return Decision.PAUSE

    def end(self, outcome: Result | Failure) -> TrialRecord | None:
        """Record the outcome of a trial.

        Returns:
            Its record if it has ended or was paused; None where it was put back in the queue or belongs to
            another run.

        Raises:
            StorageError: a worker could not write to the study directory.
        """
        number = outcome.number
        if isinstance(outcome, Result) and outcome.decision is Decision.STOP:
            self.requeue(number)
            return None
        if isinstance(outcome, Failure) and outcome.kind == FailureKind.DISK:
            # The trial is not at fault, and the next one could not be written either.
            self.requeue(number)
            raise StorageError(outcome.reason, fix=disk_fix(outcome.reason))
        trial = self.trials[number].trial
        try:
            if isinstance(outcome, Failure) and should_retry(
                outcome, self._study.failed_alone(trial), self._plan.settings.search.retries
            ):
                self._retry(trial, outcome)
                return None
            del self.trials[number]
            if self._policy is not None:
                if isinstance(outcome, Result) and outcome.decision is Decision.PAUSE:
                    return self._policy.pause(trial, outcome, self._study_dir.log(number))
                self._policy.forget(number)
            return self._tell(trial, outcome)
        except TrialLost:
            self._drop_lost(number)
            return None

    def summarize(self, record: bool) -> None:
        """Tell the callbacks what the policy predicts, and record that if `record`."""
        summary = self._policy.summarize(record) if self._policy is not None else None
        if summary is not None:
            for callback in self._callbacks:
                callback.on_summary(summary)

    def requeue(self, number: int) -> None:
        """Put a trial back in the queue: the next trial that the study gives is this one."""
        if not self._study.requeue(number):
            self._drop_lost(number)
            return
        self._forget(number)
        for callback in self._callbacks:
            callback.on_trial_requeued(number)

    def _retry(self, trial: optuna.Trial, failure: Failure) -> None:
        failed = self._study.retry(trial, failure)
        self._forget(trial.number)
        for callback in self._callbacks:
            callback.on_trial_retry(trial.number, failed + 1, failure.reason)

    def _tell(self, trial: optuna.Trial, outcome: Result | Failure) -> TrialRecord:
        pending = PendingResult(self._study_dir, outcome, self._study.peers.token)
        try:
            record = self._study.tell(trial, outcome, self._study_dir.log(trial.number), pending.keep)
        except TrialLost:
            pending.drop()
            raise
        pending.drop()
        return record

    def _attributes(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"seed": self._plan.config(params)["seed"]}

    def _forget(self, number: int) -> None:
        self.trials.pop(number, None)
        if self._policy is not None:
            self._policy.forget(number)

    def _drop_lost(self, number: int) -> None:
        self._study.say(f"trial {number} was reassigned to another run; this result is discarded")
        self._forget(number)
        for callback in self._callbacks:
            callback.on_trial_lost(number)
