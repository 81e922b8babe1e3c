"""The worker process: it trains the jobs that it receives and sends reports back; it does not use Optuna."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path

from sasrecf_tune.environment import TF32_OVERRIDE, install_command
from sasrecf_tune.errors import StorageError, TuneError, UnknownReasonError, WorkerError
from sasrecf_tune.executors.base import Runner, answer
from sasrecf_tune.executors.out_of_memory import MORE_MEMORY, lacks_memory
from sasrecf_tune.executors.worker_slots import WorkerSlots
from sasrecf_tune.messages import (
    DataRequest,
    Decision,
    Describe,
    Failure,
    FailureKind,
    Job,
    Measure,
    MeasureFusion,
    Report,
    Result,
)
from sasrecf_tune.storage.files import disk_error, make_directory, open_own

# Imported late: the module imports torch, which reads environment variables that `main` sets.
RUNNER = "sasrecf_tune.training.runner:start_runner"
# What a request asks for, in an error message.
_STEPS = {
    Describe: "preparing the data",
    Measure: "timing a few training steps",
    MeasureFusion: "timing trials that train as one model",
}


@dataclass(frozen=True)
class WorkerOptions:
    """The options that a worker is started with.

    Attributes:
        index: The worker's number in its executor.
        log: The file for output that belongs to no job.
        threads: Threads of torch; 0 for torch's choice.
        gpu: A GPU as CUDA_VISIBLE_DEVICES names it, "" for the CPU, None for the first GPU.
        runner: "module:function" that creates the worker's `Runner` from `gpu` and, if there is a `shared`
            directory, from that directory and a function that sends `Waiting`.
        shared: A directory of this run for data that is prepared once for all workers.
        concurrent: Whether the worker accepts jobs while it trains others.
    """

    index: int
    log: Path
    threads: int = 0
    gpu: str | None = None
    runner: str = RUNNER
    shared: Path | None = None
    concurrent: bool = False


def main(pipe: Connection, options: WorkerOptions) -> None:
    """Answer requests from `pipe` until it closes.

    The answer to a `Job` is a sequence of reports, each of which is followed by a `Decision`, and then a
    `Result` or a `Failure`. Other requests have one answer or a TuneError. A `Waiting` may precede each.
    """
    # Ctrl-C and SIGHUP reach all processes of the terminal, and SIGTERM often all processes of a scheduler's
    # job. Only the coordinator acts on them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _exit_with_parent()
    try:
        make_directory(options.log.parent)
        _redirect_output(options.log)
        faulthandler.enable()  # a segmentation fault writes its traceback to the log
        runner = _start_runner(pipe, options)
    except TuneError as error:
        pipe.send(error)
        return
    pipe.send(None)  # ready

    def send_report(report: Report) -> Decision:
        pipe.send(report)
        decision = pipe.recv()
        return decision if isinstance(decision, Decision) else Decision.STOP

    slots = WorkerSlots(pipe, runner, _redirect_output, options.log) if options.concurrent else None
    while True:
        try:
            request = pipe.recv() if slots is None else slots.next_request()
        except EOFError:
            return
        if isinstance(request, Job):
            pipe.send(_train(runner, request, send_report, options.log))
        elif isinstance(request, DataRequest):
            pipe.send(_answer(runner, request, options.log))


def _start_runner(pipe: Connection, options: WorkerOptions) -> Runner:
    """Import the runner in the environment that it needs, and create it.

    Raises:
        TuneError: It cannot be imported, or refuses its GPU.
    """
    # Must be set before torch is imported.
    set_threads(options.threads)
    os.environ.pop(TF32_OVERRIDE, None)
    if options.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = options.gpu
    sys.argv = sys.argv[:1]
    module, _, name = options.runner.partition(":")
    shared = () if options.shared is None else (options.shared, pipe.send)
    try:
        runner: Runner = getattr(import_module(module), name)(options.gpu, *shared)
    except TuneError:
        raise
    except Exception as error:  # an import can raise anything
        traceback.print_exception(error)
        raise _start_error(error, options.log) from error
    return runner


def _start_error(error: Exception, log: Path) -> WorkerError:
    reason, fix = f"the reason is not known; {log} has it", "Install the tested versions"
    if isinstance(error, ImportError):
        reason = f"a library cannot be imported ({error})"
    if isinstance(error, ModuleNotFoundError):
        name = "RecBole" if error.name == "recbole" else str(error.name)
        reason, fix = f"{name} is not installed", "Install it with the other dependencies"
    fix = f"{fix}: {install_command()}"
    if lacks_memory(error):
        reason, fix = "there is not enough memory", f"{MORE_MEMORY} {log} has the error."
    return WorkerError(f"a worker could not start: {reason}", fix=fix)


def _answer(runner: Runner, request: DataRequest, log: Path) -> object:
    try:
        return answer(runner, request)
    except UnknownReasonError as error:
        return _in_log(error, log)
    except TuneError as error:
        return error
    except Exception as error:  # noqa: BLE001  # torch and RecBole can raise anything
        failure = WorkerError(f"{_STEPS[type(request)]} failed; the reason is not known")
        failure.__cause__ = error
        return _in_log(failure, log)


def _in_log(error: TuneError, log: Path) -> TuneError:
    """Write the traceback of an error's cause to standard error, which is `log`, and name the log."""
    traceback.print_exception(error)
    error.fix = f"{log} has the traceback."
    return error


def set_threads(threads: int) -> None:
    """Set the environment that OpenMP and MKL read when torch is imported; 0 keeps their own choice."""
    if threads:
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    # Each worker would bind its threads to the same cores, the first ones, or have another number of threads.
    for name in ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY", "OMP_DYNAMIC"):
        os.environ.pop(name, None)
    # By default threads spin while they wait for each other. When another program takes the core of one, the
    # others waste theirs for milliseconds, hundreds of times a step.
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def _train(
    runner: Runner, job: Job, send_report: Callable[[Report], Decision], worker_log: Path
) -> Result | Failure:
    try:
        _redirect_output(job.log)
    except StorageError as error:
        return Failure(job.number, FailureKind.DISK, error.message)
    outcome = runner.train(job, send_report)
    with contextlib.suppress(StorageError):  # the trial counts; the next one reports the error
        _redirect_output(worker_log)
    return outcome


def _exit_with_parent() -> None:
    """Exit when the coordinator does: one that was killed cannot stop its workers."""
    parent = parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _redirect_output(path: Path) -> None:
    """Append everything that is written to standard output and error to `path`.

    Raises:
        StorageError: The file cannot be written.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # an incomplete log must not fail a trial
            stream.flush()
    try:
        handle = open_own(path, os.O_WRONLY | os.O_APPEND, 0o644)
    except OSError as error:
        raise disk_error(path, error) from error
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
