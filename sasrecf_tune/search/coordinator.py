"""The coordinator: asks for trials, has them trained, and records what comes back."""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from sqlalchemy.exc import SQLAlchemyError

from sasrecf_tune.errors import Interrupted, StorageError
from sasrecf_tune.executors.base import Executor
from sasrecf_tune.inputs.settings import format_duration
from sasrecf_tune.messages import Decision, Failure, FailureKind, Job, Report, Result
from sasrecf_tune.search.callbacks import Callback
from sasrecf_tune.search.patience import Patience
from sasrecf_tune.search.peers import search_description
from sasrecf_tune.search.plan import Plan
from sasrecf_tune.search.retry_policy import MOST_ALIKE, RepeatedFailures, worth_another_attempt
from sasrecf_tune.search.strategies.best_first import BestFirstSampler
from sasrecf_tune.search.strategies.candidates import Candidates
from sasrecf_tune.search.strategies.pruners import make_pruner
from sasrecf_tune.search.strategies.samplers import (
    DedupSampler,
    GridSampler,
    History,
    SpaceExhausted,
    load,
    optuna_sampler,
)
from sasrecf_tune.search.study import TrialLost, TuneStudy, open_study
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.files import DISK_FIX
from sasrecf_tune.storage.pending_results import DrainHandler, PendingResult, replay_pending
from sasrecf_tune.trials import ENDED, State

# How long one wait may last: it bounds how late a signal or a timeout is noticed.
_TICK_SECONDS = 0.25
# How often the time spent is written down: what a run that is killed spent since then is not counted.
_COUNT_SECONDS = 10.0
_TIME_IS_UP = "the time is up"


@dataclass(frozen=True)
class Outcome:
    """Why a search ended; `interrupted` when someone asked it to, `failed` when it gave up.

    `more` is the option that lets a search go on which has used up what it was given.
    """

    reason: str
    done: int
    interrupted: bool = False
    failed: bool = False
    more: str = ""


@dataclass
class _Running:
    """A trial that is being trained: where it stands, and where it would end."""

    trial: optuna.Trial
    last_epoch: int
    epoch: int = 0


def make_sampler(plan: Plan, history: History) -> optuna.samplers.BaseSampler:
    """The plan's sampler over cells that are not in `history`.

    Raises:
        InputError: a package it needs is missing.
    """
    from sasrecf_tune.search.strategies.distributions import distributions

    space = distributions(plan.space)
    seed = plan.settings.seed
    if plan.sampler == "grid":
        assert plan.cells is not None
        cells = plan.cells()
        # At random: what a search has tried when it is stopped should be spread over the grid.
        return GridSampler(history, space, random.Random(seed).sample(cells, len(cells)))
    if plan.sampler == "best-first":
        candidates = Candidates(space, plan.feasible, plan.cells)
        return BestFirstSampler(history, space, plan.space, candidates, plan.start(), seed)
    return DedupSampler(history, space, optuna_sampler(plan.sampler, seed), plan.feasible, plan.cells, seed)


def planned_study(
    plan: Plan, study_dir: StudyDirectory, storage: BaseStorage, say: Callable[[str], None] = lambda _: None
) -> TuneStudy:
    """The plan's study, made or continued: with its sampler and pruner, and interrupted trials in the queue.

    `say` tells people of trouble.

    Raises:
        InputError: as `make_sampler`.
        StudyMismatchError: as `open_study`.
    """
    history = History(plan.space)
    if plan.settings.storage is not None:
        load(plan.sampler)  # for a proposal the study is held, and nobody else can go on
    study = open_study(
        study_dir,
        storage,
        plan.space,
        plan.identity(),
        plan.settings.metric.maximize,
        make_sampler(plan, history),
        make_pruner(plan.pruner, plan.space),
    )
    study.peers.watch_trials(history.fill)
    study.join(search_description(plan), say)
    replay_pending(study_dir, study.kept, say)
    return study


class Coordinator:
    """One run of a study. `stop` may be called at any time, from a signal handler too."""

    def __init__(
        self,
        plan: Plan,
        study: TuneStudy,
        study_dir: StudyDirectory,
        executor: Executor,
        callbacks: list[Callback],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from sasrecf_tune.search.strategies.distributions import distributions

        self._plan = plan
        self._study = study
        self._layout = study_dir
        self._executor = executor
        self._observers = callbacks
        self._clock = clock
        self._distributions = distributions(plan.space)
        self._running: dict[int, _Running] = {}
        self._stopping = ""
        self._interrupted = False
        self._failed = False
        self._give_up_at = math.inf
        self._exhausted = False
        self._counted_until = clock()
        study.take_finished_by_peers()  # since it was opened: they are among its records
        records = study.records()
        self._done = sum(record.state in ENDED for record in records)
        self._patience = Patience(plan.settings.search.patience, plan.epochs, study.maximize)
        for record in sorted(records, key=lambda record: record.number):
            self._patience.trained(record.epochs)
            self._patience.ended(record)
        self._alike = RepeatedFailures(
            any(record.state in (State.COMPLETE, State.PRUNED) for record in records)
        )

    @property
    def done(self) -> int:
        """Trials of the study that have ended."""
        return self._done

    @property
    def stopping(self) -> bool:
        """Whether the search is ending."""
        return bool(self._stopping)

    def stop(self, reason: str, grace: float = math.inf) -> None:
        """Start no further trial and end the running ones after their epoch, or `grace` seconds from now."""
        self._interrupted = self._interrupted or not self._stopping
        self._stopping = self._stopping or reason
        self._give_up_at = self._clock() + grace
        self._study.peers.reconnect.stop_retrying()

    def hangs(self) -> bool:
        """Whether, after `stop`, the database keeps it waiting; see `ReconnectPolicy.give_up_if_hanging`."""
        return self._study.peers.reconnect.give_up_if_hanging()

    def run(self) -> Outcome:
        """Search until the plan's trials have ended, time is up, failures end it, or `stop` was called.

        Raises:
            Interrupted: `stop` was called while the database was away.
            WorkerError: no worker could be kept alive.
            StorageError: results could not be written.
        """
        self._counted_until = self._clock()
        try:
            self._loop()
        except BaseException as error:
            if isinstance(error, StorageInternalError | SQLAlchemyError):
                self._keep_ended()
            self._wind_up()  # what fails now follows from what failed first
            self._say_interrupted(error)
            raise
        failed = self._wind_up()
        if failed is not None:
            if isinstance(failed, StorageInternalError | SQLAlchemyError):
                self._keep_ended()
            self._say_interrupted(failed)
            raise failed
        if self._stopping:
            limit = self._plan.settings.search.timeout or 0.0
            out_of_time = self._stopping == _TIME_IS_UP
            more = f" --timeout {format_duration(2 * limit).replace(' ', '')}" if out_of_time else ""
            return Outcome(self._stopping, self._done, self._interrupted, self._failed, more)
        if self._patience.over and self._done < self._plan.trials:
            more = f" --patience {2 * (self._plan.settings.search.patience or 1)}"
            return Outcome(str(self._patience), self._done, more=more)
        if self._exhausted and self._done < self._plan.trials:
            return Outcome("no further configuration is possible and new", self._done)
        if self._done < self._plan.trials:
            names = ", ".join(name for name, _ in self._study.peers.list_peers())
            return Outcome(f"nothing is left to begin; others still train ({names})", self._done)
        return Outcome(f"all {self._done} trials have ended", self._done)

    def _loop(self) -> None:
        while True:
            self._check_timeout()
            self._hear()
            if self._stopping:
                for number in self._executor.withdraw():
                    self._return(number)
            self._fill()
            if self._clock() >= self._give_up_at or not (self._running or self._waits()):
                break
            self._executor.step(self, _TICK_SECONDS)
            self._study.flush_if_due()
            if self._clock() - self._counted_until >= _COUNT_SECONDS:
                self._count_time()
            for callback in self._observers:
                callback.tick()

    def _say_interrupted(self, error: BaseException) -> None:
        """Raise Interrupted where `error` is that `stop` was called while the database was away."""
        if self._interrupted and self._study.peers.reconnect.is_disconnected and isinstance(error, Exception):
            raise Interrupted(
                f"{self._stopping}; the study's database was away",
                fix="What had ended is kept in the study directory. The same command goes on.",
            ) from error

    def _keep_ended(self) -> None:
        """Keep what workers have finished meanwhile, which the database could not be told of either."""
        token = self._study.peers.token
        if not token:
            return
        keeper, heard = DrainHandler(self._layout, token), -1
        with contextlib.suppress(Exception):  # a worker that has died, or was never there
            while keeper.heard > heard:
                heard = keeper.heard
                self._executor.step(keeper, 0.0)
        for number in keeper.kept:
            self._running.pop(number, None)

    def _wind_up(self) -> Exception | None:
        """Write down all that can be, whatever fails; returns the first failure."""
        steps: list[Callable[[], None]] = [self._count_time, self._hear]
        steps += [partial(self._return, number) for number in self._running]
        steps += [callback.over for callback in self._observers]
        first: Exception | None = None
        for step in steps:
            try:
                step()
            except Exception as error:  # noqa: BLE001  # a database or a disk that refuses
                first = first or error
        return first

    def reported(self, report: Report) -> Decision:
        """See `executors.base.Handler`."""
        running = self._running[report.number]
        if not self._study.owns(running.trial):
            return Decision.STOP
        prune = self._study.report(running.trial, report)
        if not report.continues_after:  # else it is an old one, sent again
            self._patience.trained(report.epoch - running.epoch)
        running.epoch = report.epoch
        for callback in self._observers:
            callback.reported(report)
        self._check_timeout()
        # A last epoch that was trained anyway is worth more as a completed trial.
        if report.epoch >= running.last_epoch:
            return Decision.CONTINUE
        if self._stopping:
            return Decision.STOP
        return Decision.PRUNE if prune else Decision.CONTINUE

    def ended(self, outcome: Result | Failure) -> None:
        """See `executors.base.Handler`."""
        try:
            self._record_outcome(outcome)
        except TrialLost:
            self._drop_lost_trial(outcome.number)

    def _record_outcome(self, outcome: Result | Failure) -> None:
        if isinstance(outcome, Result) and outcome.decision is Decision.STOP:
            self._return(outcome.number)
            return
        if isinstance(outcome, Failure) and outcome.kind == FailureKind.DISK:
            # Nor would the next trial be written: this one is as good as new when the disk is.
            self._return(outcome.number)
            raise StorageError(outcome.reason, fix=DISK_FIX)
        trial = self._running[outcome.number].trial
        if isinstance(outcome, Failure) and worth_another_attempt(
            outcome, self._study.failed_attempts(trial), self._plan.settings.search.retries
        ):
            self._try_again(trial, outcome)
            return
        del self._running[outcome.number]
        pending_result = PendingResult(self._layout, outcome, self._study.peers.token)
        try:
            record = self._study.tell(trial, outcome, self._layout.log(outcome.number), pending_result.keep)
        except TrialLost:
            pending_result.drop()
            raise
        pending_result.drop()
        self._done += 1
        self._patience.ended(record)
        for callback in self._observers:
            callback.ended(record)
        if isinstance(outcome, Failure):
            self._consider(outcome)
        else:
            self._alike.succeeded()

    def _consider(self, failure: Failure) -> None:
        hopeless = self._alike.failed(failure)
        if self._stopping:
            return
        if self._plan.settings.search.fail_fast:
            self._fail_fast(failure.number, failure.reason)
        elif hopeless:
            self._stopping = (
                f"gave up: no trial succeeded, and the last {MOST_ALIKE} failed alike: {failure.reason}"
            )
            self._failed = True

    def _fail_fast(self, number: int, reason: str) -> None:
        self._stopping = f"trial {number} failed, and --fail-fast was given: {reason}"
        self._failed = True

    def _fill(self) -> None:
        while (
            not self._stopping
            and not self._exhausted
            and not self._patience.over
            and self._executor.free > 0
            and self._done + len(self._running) + self._study.peers.count_elsewhere() < self._plan.trials
        ):
            if not self._start():
                break

    def _waits(self) -> bool:
        """Whether there may be something to do yet, though nothing is left to begin."""
        if self._stopping or self._exhausted or self._patience.over or self._done >= self._plan.trials:
            return False
        return self._study.peers.has_silent_peers()

    def _hear(self) -> None:
        """Take in what other coordinators have done."""
        for record in self._study.take_finished_by_peers():
            self._done += 1
            self._patience.trained(record.epochs)
            self._patience.ended(record)
            for callback in self._observers:
                callback.ended(record)
            if record.state == State.FAILED and self._plan.settings.search.fail_fast and not self._stopping:
                self._fail_fast(record.number, record.error)

    def _start(self) -> bool:
        """Begin a trial; returns whether there was one."""
        try:
            trial = self._study.ask(
                self._distributions,
                lambda params: {"seed": self._plan.config(params)["seed"]},
                self._plan.trials,
            )
        except SpaceExhausted:
            self._exhausted = True
            return False
        if trial is None:
            return False
        params = self._plan.space.decode(trial.params)
        config = self._plan.config(params)
        self._running[trial.number] = _Running(trial, int(config.get("epochs") or self._plan.data.epochs))
        for callback in self._observers:
            callback.started(trial.number, params)
        self._executor.submit(
            Job(
                number=trial.number,
                config=config | {"checkpoint_dir": str(self._layout.checkpoints)},
                engine=self._plan.settings.engine,
                log=self._layout.log(trial.number),
                checkpoint=self._layout.checkpoint(trial.number),
                unfinished=self._layout.unfinished(trial.number),
                checkpoint_every=self._plan.settings.search.checkpoint_every,
                # One that failed may be what failed those it trained with, or the other way round.
                alone=self._study.failed_attempts(trial) > 0,
            )
        )
        return True

    def _try_again(self, trial: optuna.Trial, failure: Failure) -> None:
        # The next trial that is asked for is this one, with its number, parameters and seed.
        failed = self._study.try_again(trial, failure.reason)
        del self._running[trial.number]
        for callback in self._observers:
            callback.retrying(trial.number, failed + 1, failure.reason)

    def _return(self, number: int) -> None:
        if not self._study.give_back(number):
            self._drop_lost_trial(number)
            return
        self._running.pop(number, None)
        for callback in self._observers:
            callback.returned(number)

    def _drop_lost_trial(self, number: int) -> None:
        self._study.say(f"trial {number} is another run's by now; what became of it here is dropped")
        self._running.pop(number, None)
        for callback in self._observers:
            callback.lost(number)

    def _check_timeout(self) -> None:
        limit = self._plan.settings.search.timeout
        if limit is not None and not self._stopping:
            spent = self._study.seconds_spent() + self._clock() - self._counted_until
            if spent >= limit:
                self._stopping = _TIME_IS_UP

    def _count_time(self) -> None:
        now = self._clock()
        self._study.add_seconds(now - self._counted_until)
        self._counted_until = now
