"""The process that trains what it is sent and streams back what it sees; it knows nothing of Optuna."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

from sasrecf_tune.environment import install_command
from sasrecf_tune.errors import StorageError, TuneError, WorkerError
from sasrecf_tune.executors.worker_slots import WorkerSlots
from sasrecf_tune.messages import (
    DataSummary,
    Decision,
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
)
from sasrecf_tune.storage.files import disk_error, make_directory

# Not imported here: it imports torch, which reads environment variables that `main` sets.
RUNNER = "sasrecf_tune.training.runner:start_runner"


class Runner(Protocol):
    """What a worker asks for its answers: `trial.Runner`, or a stand-in for it."""

    def describe(self, request: Describe) -> DataSummary:
        """Prepare the data and say what it holds."""

    def measure(self, request: Measure) -> Timing:
        """Time a few steps."""

    def measure_fusion(self, request: MeasureFusion) -> FusionTiming:
        """Time a few steps of several trials."""

    def train(self, job: Job, on_report: Callable[[Report], Decision], /) -> Result | Failure:
        """Train the job; `on_report` decides after each validation."""


@dataclass(frozen=True)
class WorkerOptions:
    """What a worker is started with.

    `threads` is 0 for torch's own choice; `gpu` is a card's index, "" for the CPU, None for the first card.
    `runner` names, as "module:function", what makes the worker's `Runner` from `gpu`, and, where there is a
    directory `shared` for prepared data, made by this run, from that and what sends a `Waiting` on.
    With `together` it takes jobs while it has some, and trains those of one shape together.
    """

    index: int
    log: Path
    threads: int = 0
    gpu: str | None = None
    runner: str = RUNNER
    shared: Path | None = None
    together: bool = False


def main(pipe: Connection, options: WorkerOptions) -> None:
    """Answer requests from `pipe` until it closes.

    A `Job` is answered by reports, each of which waits for a `Decision`, and then a `Result` or a
    `Failure`; other requests by their answer or by a TuneError. A `Waiting` may come before any of them.
    A job may be sent while others are trained, if the worker was started to train them `together`.
    """
    # Ctrl-C reaches the whole terminal, and a scheduler's SIGTERM often all processes of the job; the
    # coordinator alone decides what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _end_with_parent()
    try:
        make_directory(options.log.parent)
        _send_output_to(options.log)
    except StorageError as error:
        pipe.send(error)
        return
    faulthandler.enable()  # a segmentation fault leaves its traceback in the log
    if options.threads:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    if options.gpu is not None:
        # Must precede the first import of torch.
        os.environ["CUDA_VISIBLE_DEVICES"] = options.gpu
    sys.argv = sys.argv[:1]
    try:
        module, _, name = options.runner.partition(":")
        shared = () if options.shared is None else (options.shared, pipe.send)
        made: Any = getattr(import_module(module), name)(options.gpu, *shared)
        runner: Runner = made
        pipe.send(None)  # ready
    except TuneError as error:
        pipe.send(error)
        return
    except Exception as error:  # noqa: BLE001  # an import can fail in any way; the coordinator must hear of it
        said, fix = f"{type(error).__name__}: {error}", "Install the tested versions"
        if isinstance(error, ModuleNotFoundError) and error.name == "recbole":
            said, fix = "RecBole is not installed", "Install it with the rest"
        pipe.send(WorkerError(f"a worker could not start: {said}", fix=f"{fix}: {install_command()}"))
        return

    def ask(report: Report) -> Decision:
        pipe.send(report)
        answer = pipe.recv()
        return answer if isinstance(answer, Decision) else Decision.STOP

    slots = WorkerSlots(pipe, made, _send_output_to, options.log) if options.together else None
    while True:
        try:
            request = pipe.recv() if slots is None else slots.next_request()
        except EOFError:
            return
        if isinstance(request, Job):
            answer = _train(runner, request, ask, options.log)
            pipe.send(answer)
        elif isinstance(request, Describe | Measure | MeasureFusion):
            try:
                pipe.send(_answer(runner, request))
            except TuneError as error:
                pipe.send(error)
            except Exception as error:  # noqa: BLE001  # told to the user as it is
                pipe.send(WorkerError(f"{type(error).__name__}: {error}", where=str(options.log)))


def _answer(runner: Runner, request: Describe | Measure | MeasureFusion) -> object:
    match request:
        case Describe():
            return runner.describe(request)
        case Measure():
            return runner.measure(request)
        case MeasureFusion():
            return runner.measure_fusion(request)


def _train(runner: Runner, job: Job, ask: Callable[[Report], Decision], own_log: Path) -> Result | Failure:
    try:
        _send_output_to(job.log)
    except StorageError as error:
        return Failure(job.number, FailureKind.DISK, error.message)
    answer = runner.train(job, ask)
    with contextlib.suppress(StorageError):  # what was trained counts, and the next trial will say so
        _send_output_to(own_log)
    return answer


def _end_with_parent() -> None:
    """A coordinator that was killed cannot say goodbye; its workers must not stay behind."""
    parent = parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _send_output_to(path: Path) -> None:
    """Send standard output and error, whoever writes to them, to the end of `path`.

    Raises:
        StorageError: it cannot be written.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # a log that cannot be finished must not cost a trial
            stream.flush()
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        raise disk_error(path, error) from error
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
