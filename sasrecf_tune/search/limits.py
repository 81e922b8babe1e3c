"""The limits of a search: trials, time, patience, failures, the size of the space, and a request to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sasrecf_tune.inputs.durations import format_duration
from sasrecf_tune.messages import Failure, Result
from sasrecf_tune.search.patience import Patience
from sasrecf_tune.search.plan import Plan
from sasrecf_tune.search.policy import Finish
from sasrecf_tune.search.retry_policy import MAX_REPEATED_FAILURES, RepeatedFailures
from sasrecf_tune.search.study import TuneStudy
from sasrecf_tune.trials import ENDED, State, TrialRecord

# What a killed run spent since the time was saved last is not counted.
_SAVE_SECONDS = 10.0
_TIME_LIMIT = "the time limit (--timeout) is reached"


@dataclass(frozen=True)
class Outcome:
    """How a search ended.

    Args:
        reason: Why it ended.
        done: Trials of the study that have ended, those of other runs included.
        interrupted: It was asked to stop.
        failed: It gave up because trials failed.
        converged: The policy ended it, since nothing is worth starting.
        resume_options: Options with which `resume` raises the limit that was reached, each after a space.
    """

    reason: str
    done: int
    interrupted: bool = False
    failed: bool = False
    converged: bool = False
    resume_options: str = ""


class TimeBudget:
    """Counts the seconds that all runs have spent on a study; `timeout` is the most they may."""

    def __init__(self, study: TuneStudy, timeout: float | None, clock: Callable[[], float]) -> None:
        self.timeout = math.inf if timeout is None else timeout
        self._study = study
        self._clock = clock
        self._saved_at = clock()

    def start(self) -> None:
        """Begin to count."""
        self._saved_at = self._clock()

    @property
    def left(self) -> float:
        """Seconds until the timeout."""
        return self.timeout - self._study.seconds_spent() - (self._clock() - self._saved_at)

    def save(self) -> None:
        """Add what was spent since the last save to the study."""
        now = self._clock()
        self._study.add_seconds(now - self._saved_at)
        self._saved_at = now

    def save_if_due(self) -> None:
        """Save, unless that was done in the last seconds."""
        if self._clock() - self._saved_at >= _SAVE_SECONDS:
            self.save()


class SearchLimits:
    """Decides whether a search may start another trial, and why it ends.

    Attributes:
        done: Trials of the study that have ended, those of other runs included, imported ones not.
        stop_reason: Why no trial may start any more and running ones end early; "" while they may.
        interrupted: Whether `request_stop` is the reason.
        failed: Whether failures are the reason.
        space_exhausted: Whether the sampler has no configuration left.
        finish: Why the policy starts no trial, if it does not.
    """

    def __init__(self, plan: Plan, study: TuneStudy, clock: Callable[[], float]) -> None:
        records = study.records()
        here = [record for record in records if not record.imported]
        self.done = sum(record.state in ENDED for record in here)
        self.stop_reason = ""
        self.interrupted = False
        self.failed = False
        self.space_exhausted = False
        self.finish: Finish | None = None
        self.time = TimeBudget(study, plan.settings.search.timeout, clock)
        self._settings = plan.settings.search
        self._trials = plan.trials
        self._clock = clock
        self._deadline = math.inf
        self._patience = Patience(self._settings.patience, plan.epochs, study.maximize)
        for record in sorted(records, key=lambda record: record.number):
            if not record.imported:
                self._patience.add_epochs(record.epochs)
            self._patience.add_result(record)
        succeeded = any(record.state in (State.COMPLETE, State.PRUNED, State.PAUSED) for record in here)
        self._failures = RepeatedFailures(succeeded)

    def request_stop(self, reason: str, grace: float) -> None:
        """Stop now; running trials may go on for `grace` seconds."""
        self.interrupted = self.interrupted or not self.stop_reason
        self.stop_reason = self.stop_reason or reason
        self._deadline = self._clock() + grace

    @property
    def grace_over(self) -> bool:
        """Whether running trials may not go on any more after a requested stop."""
        return self._clock() >= self._deadline

    def allow_trial(self, running: int) -> bool:
        """Whether another trial may start while `running` are in training."""
        return self.allow_step() and not self._patience.exhausted and self.done + running < self._trials

    def allow_step(self) -> bool:
        """Whether a policy may be asked; it trains a trial to its end when `seconds_left` are few."""
        return not (self.stop_reason or self.space_exhausted)

    @property
    def seconds_left(self) -> float:
        """The time until no step may be given any more, except those that train a trial to its end."""
        return 0.0 if self._patience.exhausted else self.time.left

    def check_time(self) -> None:
        """Stop if the timeout is reached."""
        if not self.stop_reason and self.time.left <= 0:
            self.stop_reason = _TIME_LIMIT

    def add_epochs(self, epochs: int) -> None:
        """Count epochs that were trained."""
        self._patience.add_epochs(epochs)

    def add_trial(self, record: TrialRecord, outcome: Result | Failure) -> None:
        """Count a trial of this run that has ended; its epochs are counted already."""
        self._add(record)
        if not isinstance(outcome, Failure):
            self._failures.add_success()
            return
        repeated = self._failures.add_failure(outcome)
        self._check_fail_fast(record)
        if repeated and not self.stop_reason:
            self._give_up(
                f"gave up: no trial succeeded, and the last {MAX_REPEATED_FAILURES} failed for the same "
                f"reason: {outcome.reason}"
            )

    def add_paused_trial(self, record: TrialRecord) -> None:
        """Count a trial of this run that was paused."""
        self._patience.add_result(record)
        self._failures.add_success()

    def add_peer_trial(self, record: TrialRecord) -> None:
        """Count a trial that another run has ended, or imported."""
        if record.imported:
            self._patience.add_result(record)
            return
        self._patience.add_epochs(record.epochs)
        self._add(record)
        if record.state == State.FAILED:
            self._check_fail_fast(record)

    def outcome(self, peers: Sequence[str]) -> Outcome:
        """How the search ended; `peers` are the names of other runs that work on the study now."""
        if self.stop_reason:
            options = ""
            if self.stop_reason == _TIME_LIMIT:
                options = f" --timeout {format_duration(2 * self.time.timeout).replace(' ', '')}"
            return Outcome(self.stop_reason, self.done, self.interrupted, self.failed, resume_options=options)
        if not self._trials:
            return Outcome("every configuration has a finished trial, which was imported", 0)
        if self.done >= self._trials:
            return Outcome(
                f"all {self.done} trials have ended" if self.done > 1 else "the trial has ended", self.done
            )
        if self._patience.exhausted:
            options = f" --patience {2 * (self._settings.patience or 1)}"
            return Outcome(str(self._patience), self.done, resume_options=options)
        if self.finish is not None:
            return Outcome(self.finish.reason, self.done, converged=not self.finish.exhausted)
        if self.space_exhausted:
            return Outcome("no feasible configuration is left that has not been tried", self.done)
        return Outcome(f"no trial is left to start; other runs still train ({', '.join(peers)})", self.done)

    def _add(self, record: TrialRecord) -> None:
        self.done += 1
        self._patience.add_result(record)

    def _check_fail_fast(self, record: TrialRecord) -> None:
        if self._settings.fail_fast and not self.stop_reason:
            self._give_up(f"trial {record.number} failed, and --fail-fast was given: {record.error}")

    def _give_up(self, reason: str) -> None:
        self.stop_reason = reason
        self.failed = True
