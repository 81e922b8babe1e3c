"""Trains jobs in persistent worker processes on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from typing_extensions import override

from sasrecf_tune.errors import InputError, StorageError, TuneError, WorkerError
from sasrecf_tune.executors.base import Executor, Handler, discard_message
from sasrecf_tune.executors.out_of_memory import after_death
from sasrecf_tune.executors.placement import ends_worker, pick_busy_worker, taints_worker, taken_slots
from sasrecf_tune.executors.visible_gpus import first_gpu
from sasrecf_tune.executors.worker import RUNNER, WorkerOptions, main
from sasrecf_tune.inputs.durations import format_duration
from sasrecf_tune.messages import (
    DataRequest,
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
from sasrecf_tune.storage.files import append_line

T = TypeVar("T")

_MAIN_MODULE_LOCK = threading.Lock()

# If this many workers in a row die before they are ready or have prepared the data, the machine or the
# installation is broken, and starting more does not help.
MAX_FAILED_STARTS = 3


@dataclass
class _Worker:
    options: WorkerOptions
    process: SpawnProcess
    pipe: Connection
    ready: bool = False
    jobs: dict[int, Job] = field(default_factory=dict)
    last_reports: dict[int, Report] = field(default_factory=dict)  # by the job's number
    active_at: float = 0.0  # time of its last message or job
    waiting: bool = False  # until another worker has prepared the data: its silence is no hang
    retiring: bool = False  # takes no further job


class LocalExecutor(Executor):
    """Trains jobs in worker processes.

    A worker that dies is replaced, and its job becomes a `Failure` of kind WORKER_DIED. A worker that sends
    nothing for `hang_timeout` is killed, and its job becomes a failure of kind WORKER_HUNG. If it had several
    jobs, all become failures of kind FUSED. A job that must train alone waits until a worker is idle. After a
    job that failed with an error or for lack of memory, the worker is replaced once its other jobs have
    ended: lost memory or a broken CUDA context must not fail the next job.

    Args:
        gpus: GPUs that the workers use in turn, by the names of `visible_gpus`; empty for the first GPU,
            ("",) for the CPU.
        hang_timeout: Seconds without a message after which a worker is killed; None for no limit.
        runner, shared: See `WorkerOptions`.
        clock: Returns the time in seconds.
        threads: Threads of each worker; 0 for torch's choice.
        slots: Jobs that a worker trains at a time; 0 for one until `slots` is set.
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
        threads: int = 0,
        slots: int = 1,
    ) -> None:
        self._options = [
            WorkerOptions(
                index=index,
                log=study_dir.worker_log(index),
                threads=threads,
                gpu=gpus[index % len(gpus)] if gpus else None,
                runner=runner,
                shared=shared,
                concurrent=slots != 1,
            )
            for index in range(workers)
        ]
        self._workers: list[_Worker] = []
        self._waiting: list[Job] = []  # to train alone
        self._failed_starts = 0
        self._hang_timeout = hang_timeout
        self._clock = clock
        self.slots = max(1, slots)
        self.notify: Callable[[str], None] = discard_message

    @property
    @override
    def free(self) -> int:
        if self._waiting:
            return 0  # so that a worker becomes idle
        taken = sum(taken_slots(worker, self.slots) for worker in self._workers)
        return len(self._options) * self.slots - taken

    @override
    def describe(self, request: Describe) -> DataSummary:
        summary = self._request(request, DataSummary)
        if summary.device != "cpu":
            # A worker that is started later and finds no GPU must not train on the CPU instead.
            self._options = [
                options if options.gpu is not None else replace(options, gpu=first_gpu())
                for options in self._options
            ]
        return summary

    @override
    def measure(self, request: Measure) -> Timing:
        return self._request(request, Timing)

    @override
    def measure_fusion(self, request: MeasureFusion) -> FusionTiming:
        return self._request(request, FusionTiming)

    @override
    def submit(self, job: Job) -> None:
        idle = any(not worker.jobs for worker in self._workers) or len(self._workers) < len(self._options)
        worker = pick_busy_worker(job, self._workers, self.slots, idle)
        if worker is None and not idle:
            self._waiting.append(job)
            return
        worker = worker or self._idle_worker()
        worker.jobs[job.number] = job
        worker.active_at = self._clock()
        with contextlib.suppress(OSError):  # `step` notices a worker that has died
            worker.pipe.send(job)

    @override
    def withdraw(self) -> list[int]:
        withdrawn, self._waiting = self._waiting, []
        return [job.number for job in withdrawn]

    @override
    def step(self, handler: Handler, timeout: float) -> None:
        busy = {worker.pipe: worker for worker in self._workers if worker.jobs}
        for pipe in wait(list(busy), timeout):
            worker = busy[pipe]  # type: ignore[index]  # wait() returns what it was given
            try:
                message = worker.pipe.recv()
            except (EOFError, OSError):
                self._handle_death(worker, handler)
                continue
            self._handle_message(worker, message, handler)
        self._kill_hung_workers(handler)
        waiting, self._waiting = self._waiting, []
        for job in waiting:
            self.submit(job)  # it waits again where no worker is idle yet

    @override
    def close(self) -> None:
        for worker in self._workers:
            worker.process.kill()  # all of them before waiting for the first
        for worker in list(self._workers):
            self._stop(worker)

    def _handle_message(self, worker: _Worker, message: object, handler: Handler) -> None:
        if message is None:
            worker.ready = True
            self._failed_starts = 0
        elif isinstance(message, Waiting):
            worker.waiting = not message.over
        elif isinstance(message, Report):
            worker.last_reports[message.number] = message
            decision = handler.on_report(message)
            with contextlib.suppress(OSError):
                worker.pipe.send(decision)
        elif isinstance(message, Result | Failure):
            worker.jobs.pop(message.number)
            worker.last_reports.pop(message.number, None)
            worker.retiring |= taints_worker(message)
            if worker.retiring and not worker.jobs:
                self._stop(worker)
            if ends_worker(message) and worker.jobs:
                self._stop(worker)
                handler.on_outcome(replace(message, kind=FailureKind.FUSED))
                _fail_jobs(worker, handler, FailureKind.FUSED, message.reason)
            else:
                handler.on_outcome(message)
        elif isinstance(message, InputError):
            # A GPU of --gpus, which is checked when a worker starts.
            fix = "nvidia-smi shows the GPUs of this machine. To continue: sasrecf-tune resume."
            raise WorkerError(f"a worker cannot start: {message.what}", where=message.where, fix=fix)
        elif isinstance(message, TuneError):
            raise message
        # After the handler: the time it takes is not the worker's.
        worker.active_at = self._clock()

    def _kill_hung_workers(self, handler: Handler) -> None:
        if self._hang_timeout is None:
            return
        deadline = self._clock() - self._hang_timeout
        for worker in list(self._workers):
            # A message that has arrived since the last `step` counts, too.
            if worker.jobs and not worker.waiting and worker.active_at < deadline and not worker.pipe.poll():
                self._stop(worker)
                reason = f"the worker sent nothing for {format_duration(self._hang_timeout)}"
                _fail_jobs(worker, handler, FailureKind.WORKER_HUNG, reason)

    def _handle_death(self, worker: _Worker, handler: Handler) -> None:
        death = _describe_exit(worker.process)
        self._stop(worker)
        if worker.ready:
            _fail_jobs(worker, handler, FailureKind.WORKER_DIED, f"the worker {death}")
            return
        self._failed_starts += 1
        if self._failed_starts == MAX_FAILED_STARTS:
            fix = after_death(worker.options.log)
            raise WorkerError(f"a worker {death} before it was ready", fix=fix)
        for job in worker.jobs.values():
            self.submit(job)  # the worker never received it: this is not an attempt of the trial

    def _request(self, request: DataRequest, kind: type[T]) -> T:
        for attempt in range(1, MAX_FAILED_STARTS + 1):
            worker = self._idle_worker()
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
                death = _describe_exit(worker.process)
                self._stop(worker)
                if attempt == MAX_FAILED_STARTS:
                    raise WorkerError(
                        f"the worker {death} while preparing the data", fix=after_death(worker.options.log)
                    ) from error
        _raise_if_error(answer)
        if not isinstance(answer, kind):
            raise WorkerError(f"the worker answered {type(answer).__name__}, not {kind.__name__}")
        return answer

    def _idle_worker(self) -> _Worker:
        for worker in list(self._workers):
            if not worker.jobs:
                if worker.process.is_alive():
                    return worker
                self._stop(worker)
        taken = {worker.options.index for worker in self._workers}
        options = next(options for options in self._options if options.index not in taken)
        worker = _start(options)
        self._workers.append(worker)
        return worker

    def _stop(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()


def _start(options: WorkerOptions) -> _Worker:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=main, args=(theirs, replace(options)), name=f"sasrecf-tune-worker-{options.index}", daemon=True
    )
    with _signals_held(), _without_main_module(), _without_working_directory():
        process.start()
    theirs.close()
    return _Worker(options, process, ours)


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Start processes that ignore these signals from the beginning; ours are handled after the block."""
    numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    held: list[int] = []
    handlers: dict[int, Any] = {}
    # The mask is this thread's. Another one, such as numpy's, may receive a signal, and its handler would
    # raise KeyboardInterrupt here: in the middle of the start, of which the process then gets one half.
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in numbers}
        handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        for number in handlers:
            signal.signal(number, lambda caught, _: held.append(caught))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for caught in held:
            signal.raise_signal(caught)


@contextlib.contextmanager
def _without_working_directory() -> Iterator[None]:
    """Keep the working directory off the path of a process that is started in the block.

    `python -c` would import its modules from there first, from a file pickle.py for example. The process gets
    the path of this one later.
    """
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


@contextlib.contextmanager
def _without_main_module() -> Iterator[None]:
    """Keep a process that is started in the block from running the program's script again.

    Otherwise a script that searches would need `if __name__ == "__main__":`.
    """
    with _MAIN_MODULE_LOCK:  # searches in several threads may start workers at the same time
        main_module = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main_module


def _fail_jobs(worker: _Worker, handler: Handler, kind: FailureKind, reason: str) -> None:
    if len(worker.jobs) > 1:
        kind = FailureKind.FUSED
    failures = [
        Failure.after_report(number, worker.last_reports.get(number), kind, reason) for number in worker.jobs
    ]
    for job in worker.jobs.values():
        with contextlib.suppress(StorageError):
            append_line(job.log, f"\n{reason}\n")  # the worker could not write it
    for failure in failures:
        handler.on_outcome(failure)


def _describe_exit(process: SpawnProcess) -> str:
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
