"""The coordinator: asks for trials, has them trained, and records their outcomes."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from functools import partial

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from sasrecf_tune.errors import Interrupted
from sasrecf_tune.executors.base import Executor
from sasrecf_tune.messages import Decision, Failure, Report, Result
from sasrecf_tune.search.callbacks import Callback
from sasrecf_tune.search.limits import Outcome, SearchLimits
from sasrecf_tune.search.plan import Plan
from sasrecf_tune.search.policy import SearchPolicy
from sasrecf_tune.search.running_trials import RunningTrials
from sasrecf_tune.search.strategies.space_sampler import SpaceExhausted
from sasrecf_tune.search.study import TuneStudy
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.pending_results import DrainHandler
from sasrecf_tune.trials import State

# The longest that one step of the executor waits: it bounds how late a signal or a timeout is noticed.
_TICK_SECONDS = 0.25
# The share of the time in which views are told what the policy predicts, though no trial has ended.
_SUMMARY_SHARE = 0.05


class Coordinator:
    """One run of a study.

    With a `policy`, that decides which trial is trained next and up to which epoch, instead of the sampler
    and the pruner of the study.
    """

    def __init__(
        self,
        plan: Plan,
        study: TuneStudy,
        study_dir: StudyDirectory,
        executor: Executor,
        callbacks: Sequence[Callback],
        clock: Callable[[], float] = time.monotonic,
        policy: SearchPolicy | None = None,
    ) -> None:
        self._study = study
        self._study_dir = study_dir
        self._executor = executor
        self._callbacks = callbacks
        self._clock = clock
        self._next_summary = -math.inf
        self._has_policy = policy is not None
        study.take_finished_by_peers()  # since the study was opened: they are among its records
        self._limits = SearchLimits(plan, study, clock)
        self._running = RunningTrials(
            plan, study, study_dir, callbacks, policy, lambda: self._limits.seconds_left
        )

    @property
    def stopping(self) -> bool:
        """Whether running trials end early."""
        return bool(self._limits.stop_reason)

    def stop(self, reason: str, grace: float = math.inf) -> None:
        """Start no further trial and end the running ones after their epoch, or `grace` seconds from now.

        Signal handlers may call it at any time.
        """
        self._limits.request_stop(reason, grace)
        self._study.peers.reconnect.stop_retrying()

    def hangs(self) -> bool:
        """Whether the database has not answered for long since `stop`; see `ReconnectPolicy`."""
        return self._study.peers.reconnect.give_up_if_hanging()

    def run(self) -> Outcome:
        """Search until a limit is reached or `stop` is called.

        Raises:
            Interrupted: `stop` was called while the database was unreachable.
            WorkerError: no worker could be kept alive.
            StorageError: results could not be written.
        """
        self._limits.time.start()
        try:
            self._search()
        except Exception as error:
            if self._limits.interrupted and self._study.peers.reconnect.is_disconnected:
                raise Interrupted(
                    f"{self._limits.stop_reason}; the study's database was unreachable",
                    fix="Finished results are kept in the study directory. Run the same command to continue.",
                ) from error
            raise
        return self._limits.outcome([name for name, _ in self._study.peers.list_peers()])

    def on_report(self, report: Report) -> Decision:
        """Record a validation and decide how the trial goes on (`executors.base.Handler`)."""
        running = self._running.trials[report.number]
        if not self._study.owns(running.trial):
            return Decision.STOP
        prune = self._study.report(running.trial, report)
        if not report.continues_after:  # else it repeats a report of an earlier attempt
            self._limits.add_epochs(report.epoch - running.epoch)
        running.epoch = report.epoch
        for callback in self._callbacks:
            callback.on_report(report)
        self._limits.check_time()
        # A trial that has no epoch left is worth more completed than pruned, paused or requeued.
        if report.ends:
            return Decision.CONTINUE
        if self.stopping:
            return Decision.STOP
        if prune:
            return Decision.PRUNE
        return self._running.decide(report.number, report)

    def on_outcome(self, outcome: Result | Failure) -> None:
        """Record the outcome of a trial (`executors.base.Handler`)."""
        record = self._running.end(outcome)
        if record is not None:
            self._summarize(record.state)
        if record is not None and record.state == State.PAUSED:
            self._limits.add_paused_trial(record)
            for callback in self._callbacks:
                callback.on_trial_paused(record)
        elif record is not None:
            self._limits.add_trial(record, outcome)
            for callback in self._callbacks:
                callback.on_trial_end(record)

    def _summarize(self, state: State) -> None:
        """Record what the policy predicts when a trial has ended; for the views, now and then, at a pause."""
        began = self._clock()
        if state != State.PAUSED or began >= self._next_summary:
            self._running.summarize(record=state != State.PAUSED)
            self._next_summary = self._clock() + (self._clock() - began) / _SUMMARY_SHARE

    def _search(self) -> None:
        try:
            self._loop()
        except BaseException as error:
            self._save_pending_results(error)
            self._wind_up()  # its errors follow from the first one
            raise
        failure = self._wind_up()
        if failure is not None:
            self._save_pending_results(failure)
            raise failure

    def _loop(self) -> None:
        while True:
            self._limits.check_time()
            self._take_finished_by_peers()
            if self.stopping:
                for number in self._executor.withdraw():
                    self._running.requeue(number)
            self._start_trials()
            if self._limits.grace_over or not (self._running.trials or self._waits_for_peers()):
                break
            self._executor.step(self, _TICK_SECONDS)
            self._study.flush_if_due()
            self._limits.time.save_if_due()
            for callback in self._callbacks:
                callback.on_tick()

    def _start_trials(self) -> None:
        while self._executor.free > 0 and self._may_start():
            try:
                job = self._running.start()
            except SpaceExhausted:
                self._limits.space_exhausted = True
                break
            if job is None:
                break
            self._executor.submit(job)
        self._limits.finish = self._running.finish

    def _may_start(self) -> bool:
        if self._has_policy:  # which may continue a trial when all have begun
            return self._limits.allow_step()
        return self._limits.allow_trial(len(self._running.trials) + self._study.peers.count_elsewhere())

    def _waits_for_peers(self) -> bool:
        """Whether a trial of another run may come back to the queue, since that run may be dead."""
        return self._limits.allow_trial(0) and self._study.peers.has_silent_peers()

    def _take_finished_by_peers(self) -> None:
        finished = self._study.take_finished_by_peers()
        if finished:
            self._running.summarize(record=True)
        for record in finished:
            self._limits.add_peer_trial(record)
            for callback in self._callbacks:
                callback.on_trial_end(record)

    def _save_pending_results(self, error: BaseException) -> None:
        """After an error of the database, keep in files what workers have finished meanwhile."""
        token = self._study.peers.token
        if not token or not isinstance(error, StorageInternalError | SQLAlchemyError):
            return
        handler, heard = DrainHandler(self._study_dir, token), -1
        with contextlib.suppress(Exception):  # a worker may have died, or never started
            while handler.heard > heard:
                heard = handler.heard
                self._executor.step(handler, 0.0)
        for number in handler.kept:
            self._running.trials.pop(number, None)

    def _wind_up(self) -> Exception | None:
        """Save all that can be saved, whatever fails; returns the first error."""
        steps: list[Callable[[], None]] = [self._limits.time.save, self._take_finished_by_peers]
        steps += [partial(self._running.requeue, number) for number in self._running.trials]
        steps.append(partial(self._running.summarize, record=True))
        steps += [callback.on_search_end for callback in self._callbacks]
        first: Exception | None = None
        for step in steps:
            try:
                step()
            except Exception as error:  # noqa: BLE001  # of a database or a disk
                first = first or error
        return first
