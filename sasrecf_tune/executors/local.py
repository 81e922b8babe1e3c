"""Trials in persistent worker processes on this machine."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from sasrecf_tune.environment import cores
from sasrecf_tune.errors import TuneError, WorkerError
from sasrecf_tune.executors.base import Handler
from sasrecf_tune.executors.placement import pick_busy_worker, taints
from sasrecf_tune.executors.worker import RUNNER, WorkerOptions, main
from sasrecf_tune.inputs.settings import format_duration
from sasrecf_tune.messages import (
    DataSummary,
    Describe,
    Failure,
    FailureKind,
    FusionTiming,
    Job,
    Measure,
    MeasureFusion,
    Report,
    Result,
    Timing,
    Waiting,
)
from sasrecf_tune.storage.directory import StudyDirectory

T = TypeVar("T")

# So many workers in a row may die before they are ready or have prepared the data: one that is killed then
# can be replaced, but where none comes up the machine or the installation is broken, which no start mends.
_FAILED_STARTS = 3


@dataclass
class _Worker:
    options: WorkerOptions
    process: SpawnProcess
    pipe: Connection
    ready: bool = False
    jobs: dict[int, Job] = field(default_factory=dict)
    last: dict[int, Report] = field(default_factory=dict)  # of each of its jobs
    heard: float = 0.0  # when it last said something, or was given a job
    waits: bool = False  # for another worker, which is the one to be listened for
    retiring: bool = False  # takes no further job


class LocalExecutor:
    """`workers` processes, each with its share of the CPU's threads, or one of `gpus` in turn.

    A worker that dies is replaced, and its job becomes a Failure of kind WORKER_DIED. So is one whose job
    failed with an error or for want of memory: what that left behind (memory, a CUDA context that
    answers nothing but errors) must not fail the next. One that says nothing for `hang_timeout` seconds
    is killed, and its job becomes a Failure of kind WORKER_HUNG. `runner` and `shared` are
    those of `WorkerOptions`; `threads` are a worker's.

    A worker takes up to `slots` jobs at a time; 0 is one, until `slots` is set. After a job that failed as
    above it is replaced when its others have ended; its death or silence is the Failure of each of them.
    """

    def __init__(
        self,
        study_dir: StudyDirectory,
        workers: int = 1,
        gpus: Sequence[str] = (),
        hang_timeout: float | None = None,
        runner: str = RUNNER,
        clock: Callable[[], float] = time.monotonic,
        shared: Path | None = None,
        threads: int | None = None,
        slots: int = 1,
    ) -> None:
        if threads is None:
            # One worker leaves torch its own choice of threads, which is also what plain RecBole uses.
            threads = 0 if workers == 1 else max(1, cores() // workers)
        self._options = [
            WorkerOptions(
                index=index,
                log=study_dir.worker_log(index),
                threads=0 if any(gpus) else threads,
                gpu=gpus[index % len(gpus)] if gpus else None,
                runner=runner,
                shared=shared,
                together=slots != 1,
            )
            for index in range(workers)
        ]
        self._workers: list[_Worker] = []
        self._failed_starts = 0
        self._hang_timeout = hang_timeout
        self._clock = clock
        self.slots = max(1, slots)

    @property
    def free(self) -> int:
        """Slots without a job, of workers that are started or not."""
        taken = sum(self.slots if worker.retiring else len(worker.jobs) for worker in self._workers)
        return len(self._options) * self.slots - taken

    def describe(self, request: Describe) -> DataSummary:
        """See `Executor.describe`."""
        return self._call(request, DataSummary)

    def measure(self, request: Measure) -> Timing:
        """See `Executor.measure`."""
        return self._call(request, Timing)

    def measure_fusion(self, request: MeasureFusion) -> FusionTiming:
        """Time a few steps of several trials. Raises as `describe`."""
        return self._call(request, FusionTiming)

    def submit(self, job: Job) -> None:
        """See `Executor.submit`."""
        idle = any(not worker.jobs for worker in self._workers) or len(self._workers) < len(self._options)
        worker = pick_busy_worker(job, self._workers, self.slots, idle) or self._idle()
        worker.jobs[job.number] = job
        worker.heard = self._clock()
        # A worker that dies before it could take the job is noticed in `step`.
        with contextlib.suppress(OSError):
            worker.pipe.send(job)

    def withdraw(self) -> list[int]:
        """See `Executor.withdraw`; none, since `submit` sends them."""
        return []

    def step(self, handler: Handler, timeout: float) -> None:
        """See `Executor.step`."""
        busy = {worker.pipe: worker for worker in self._workers if worker.jobs}
        for pipe in wait(list(busy), timeout):
            worker = busy[pipe]  # type: ignore[index]  # wait() returns what it was given
            try:
                message = worker.pipe.recv()
            except (EOFError, OSError):
                self._buried(worker, handler)
                continue
            self._heard(worker, message, handler)
        self._end_hung(handler)

    def _heard(self, worker: _Worker, message: object, handler: Handler) -> None:
        if message is None:
            worker.ready = True
            self._failed_starts = 0
        elif isinstance(message, Waiting):
            worker.waits = not message.over
        elif isinstance(message, Report):
            worker.last[message.number] = message
            decision = handler.reported(message)
            with contextlib.suppress(OSError):
                worker.pipe.send(decision)
        elif isinstance(message, Result | Failure):
            worker.jobs.pop(message.number)
            worker.last.pop(message.number, None)
            worker.retiring |= taints(message)
            if worker.retiring and not worker.jobs:
                self._end(worker)
            handler.ended(message)
        elif isinstance(message, TuneError):
            raise message
        # Now, not before: the time that the handler took is not the worker's.
        worker.heard = self._clock()

    def _end_hung(self, handler: Handler) -> None:
        if self._hang_timeout is None:
            return
        silent_since = self._clock() - self._hang_timeout
        for worker in list(self._workers):
            if worker.waits or worker.heard >= silent_since:
                continue
            # What it may have said since the last look is news, and no hang.
            if worker.jobs and not worker.pipe.poll():
                self._end(worker)
                reason = f"nothing was heard of the worker for {format_duration(self._hang_timeout)}"
                _all_failed(worker, handler, FailureKind.WORKER_HUNG, reason)

    def close(self) -> None:
        """See `Executor.close`."""
        for worker in self._workers:
            worker.process.kill()  # all at once, before the first is waited for
        for worker in list(self._workers):
            self._end(worker)

    def _call(self, request: Describe | Measure | MeasureFusion, kind: type[T]) -> T:
        for attempt in range(1, _FAILED_STARTS + 1):
            worker = self._idle()
            try:
                if not worker.ready:
                    worker.ready = True
                    _raise_if_error(worker.pipe.recv())
                worker.pipe.send(request)
                answer = worker.pipe.recv()
                while isinstance(answer, Waiting):
                    answer = worker.pipe.recv()
                break
            except (EOFError, OSError) as error:
                how = _how_it_died(worker.process)
                self._end(worker)
                if attempt == _FAILED_STARTS:
                    raise WorkerError(
                        f"the worker {how} while preparing the data", fix=f"Its log: {worker.options.log}"
                    ) from error
        _raise_if_error(answer)
        if not isinstance(answer, kind):
            raise WorkerError(f"the worker answered {type(answer).__name__}, not {kind.__name__}")
        return answer

    def _idle(self) -> _Worker:
        for worker in list(self._workers):
            if not worker.jobs:
                if worker.process.is_alive():
                    return worker
                self._end(worker)
        taken = {worker.options.index for worker in self._workers}
        options = next(options for options in self._options if options.index not in taken)
        worker = _start(options)
        self._workers.append(worker)
        return worker

    def _end(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()

    def _buried(self, worker: _Worker, handler: Handler) -> None:
        how = _how_it_died(worker.process)
        self._end(worker)
        if worker.ready:
            _all_failed(worker, handler, FailureKind.WORKER_DIED, f"the worker {how}")
            return
        self._failed_starts += 1
        if self._failed_starts == _FAILED_STARTS:
            raise WorkerError(f"a worker {how} before it was ready", fix=f"Its log: {worker.options.log}")
        for job in worker.jobs.values():
            self.submit(job)  # which it never had: no attempt of the trial


def _start(options: WorkerOptions) -> _Worker:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=main, args=(theirs, replace(options)), name=f"sasrecf-tune-worker-{options.index}", daemon=True
    )
    with _signals_blocked(), _without_main_module():
        process.start()
    theirs.close()
    return _Worker(options, process, ours)


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """A process started meanwhile is deaf to Ctrl-C and SIGTERM from its first instruction on.

    Ours come when the block ends.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _without_main_module() -> Iterator[None]:
    """A process started meanwhile does not run the program's script again.

    Else a script that searches would need `if __name__ == "__main__":`.
    """
    main_module = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main_module


def _all_failed(worker: _Worker, handler: Handler, kind: FailureKind, reason: str) -> None:
    failures = [_failure(job, worker.last.get(number), kind, reason) for number, job in worker.jobs.items()]
    for failure in failures:
        handler.ended(failure)


def _failure(job: Job, last: Report | None, kind: FailureKind, reason: str) -> Failure:
    with contextlib.suppress(OSError), job.log.open("a", encoding="utf-8") as log:
        log.write(f"\n{reason}\n")  # the worker could not write it
    return Failure(job.number, kind, reason, last.epoch if last else 0, last.seconds if last else 0.0)


def _how_it_died(process: SpawnProcess) -> str:
    process.join(timeout=5)
    code = process.exitcode
    if code is None:
        return "closed its connection"
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        hint = " (the system does that when memory runs out)" if name == "SIGKILL" else ""
        return f"was ended by {name}{hint}"
    return f"ended with exit code {code}"


def _raise_if_error(answer: object) -> None:
    if isinstance(answer, TuneError):
        raise answer
