"""Trials in persistent worker processes on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TypeVar

from sasrecf_tune.errors import TuneError, WorkerError
from sasrecf_tune.executors.base import Handler
from sasrecf_tune.layout import Layout
from sasrecf_tune.messages import DataSummary, Describe, Failure, Job, Measure, Report, Result, Timing
from sasrecf_tune.worker import WorkerOptions, main

T = TypeVar("T")


@dataclass
class _Worker:
    options: WorkerOptions
    process: SpawnProcess
    pipe: Connection
    ready: bool = False
    job: Job | None = None


class LocalExecutor:
    """`workers` processes, each with its share of the CPU's threads, or one of `gpus` in turn.

    A worker that dies is replaced, and its job becomes a Failure of kind "died".
    """

    def __init__(self, layout: Layout, workers: int = 1, gpus: Sequence[str] = ()) -> None:
        # One worker leaves torch its own choice of threads, which is also what plain RecBole uses.
        threads = 0 if workers == 1 else max(1, _cores() // workers)
        self._options = [
            WorkerOptions(
                index=index,
                log=layout.worker_log(index),
                threads=0 if gpus else threads,
                gpu=gpus[index % len(gpus)] if gpus else None,
            )
            for index in range(workers)
        ]
        self._workers: list[_Worker] = []

    @property
    def free(self) -> int:
        """Workers without a job, started or not."""
        return len(self._options) - sum(worker.job is not None for worker in self._workers)

    def describe(self, request: Describe) -> DataSummary:
        """See `Executor.describe`."""
        return self._call(request, DataSummary)

    def measure(self, request: Measure) -> Timing:
        """See `Executor.measure`."""
        return self._call(request, Timing)

    def submit(self, job: Job) -> None:
        """See `Executor.submit`."""
        worker = self._idle()
        worker.job = job
        # A worker that died while idle is noticed, and its job failed, in `step`.
        with contextlib.suppress(OSError):
            worker.pipe.send(job)

    def step(self, handler: Handler, timeout: float) -> None:
        """See `Executor.step`."""
        busy = {worker.pipe: worker for worker in self._workers if worker.job}
        for pipe in wait(list(busy), timeout):
            worker = busy[pipe]  # type: ignore[index]  # wait() returns what it was given
            try:
                message = worker.pipe.recv()
            except (EOFError, OSError):
                self._buried(worker, handler)
                continue
            if message is None:
                worker.ready = True
            elif isinstance(message, Report):
                decision = handler.reported(message)
                with contextlib.suppress(OSError):
                    worker.pipe.send(decision)
            elif isinstance(message, Result | Failure):
                worker.job = None
                handler.ended(message)
            elif isinstance(message, TuneError):
                raise message

    def close(self) -> None:
        """See `Executor.close`."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.pipe.close()
        self._workers.clear()

    def _call(self, request: Describe | Measure, kind: type[T]) -> T:
        worker = self._idle()
        try:
            if not worker.ready:
                worker.ready = True
                _raise_if_error(worker.pipe.recv())
            worker.pipe.send(request)
            answer = worker.pipe.recv()
        except (EOFError, OSError) as error:
            self._workers.remove(worker)
            raise WorkerError(
                f"the worker {_how_it_died(worker.process)} while preparing the data",
                fix=f"Its log: {worker.options.log}",
            ) from error
        _raise_if_error(answer)
        if not isinstance(answer, kind):
            raise WorkerError(f"the worker answered {type(answer).__name__}, not {kind.__name__}")
        return answer

    def _idle(self) -> _Worker:
        for worker in self._workers:
            if worker.job is None:
                return worker
        taken = {worker.options.index for worker in self._workers}
        options = next(options for options in self._options if options.index not in taken)
        worker = _start(options)
        self._workers.append(worker)
        return worker

    def _buried(self, worker: _Worker, handler: Handler) -> None:
        self._workers.remove(worker)
        how = _how_it_died(worker.process)
        if not worker.ready:
            raise WorkerError(f"a worker {how} before it was ready", fix=f"Its log: {worker.options.log}")
        if worker.job is not None:
            handler.ended(Failure(worker.job.number, "died", f"the worker {how}"))


def _start(options: WorkerOptions) -> _Worker:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=main, args=(theirs, replace(options)), name=f"sasrecf-tune-worker-{options.index}", daemon=True
    )
    with _ignoring_interrupts():
        process.start()
    theirs.close()
    return _Worker(options, process, ours)


@contextlib.contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """A process started meanwhile ignores Ctrl-C from its first instruction on."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not in the main thread: signals are not ours to change
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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


def _cores() -> int:
    """Cores this process may use, which in a container are fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
