"""The worker process: it trains the jobs that it receives and sends reports back; it does not use Optuna."""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import os
import re
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

_LOG_TAIL = 10_000
# What Python, the loader of libraries and those say that get no memory, or no thread, which takes some.
_NO_MEMORY = re.compile(
    r"allocate memory|memory allocation|out of memory|enough memory|failed to map segment|bad_alloc"
    r"|start new thread",
    re.IGNORECASE,
)
MORE_MEMORY = (
    "Raise the limit (ulimit -v, of the container or of the scheduler), use fewer --workers, or end other "
    "programs."
)
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


def lacks_memory(error: BaseException) -> bool:
    """Return whether an error, or one that it was raised from, means that there was no memory."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    return any(
        isinstance(each, MemoryError)
        or getattr(each, "errno", None) == errno.ENOMEM
        or _NO_MEMORY.search(str(each)) is not None
        for each in chain
    )


def after_death(log: Path) -> str:
    """Return what to do about a worker that died without a message, which `log` may explain.

    A library that gets no memory ends the process, in its own words or in none.
    """
    import resource  # not on Windows

    said = ""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_TAIL))
        said = file.read(_LOG_TAIL).decode(errors="replace")
    limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
    little = limited or _NO_MEMORY.search(said) is not None
    return f"{f'There may be too little memory. {MORE_MEMORY} ' if little else ''}Its log: {log}"


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
    except StorageError as error:
        pipe.send(error)
        return
    faulthandler.enable()  # a segmentation fault writes its traceback to the log
    # Must be set before torch is imported.
    set_threads(options.threads)
    os.environ.pop(TF32_OVERRIDE, None)
    if options.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = options.gpu
    sys.argv = sys.argv[:1]
    try:
        module, _, name = options.runner.partition(":")
        shared = () if options.shared is None else (options.shared, pipe.send)
        runner: Runner = getattr(import_module(module), name)(options.gpu, *shared)
        pipe.send(None)  # ready
    except TuneError as error:
        pipe.send(error)
        return
    except Exception as error:  # noqa: BLE001  # an import can raise anything
        traceback.print_exception(error)
        reason, fix = f"the reason is not known; {options.log} has it", "Install the tested versions"
        if isinstance(error, ImportError):
            reason = f"a library cannot be imported ({error})"
        if isinstance(error, ModuleNotFoundError):
            name = "RecBole" if error.name == "recbole" else str(error.name)
            reason, fix = f"{name} is not installed", "Install it with the other dependencies"
        fix = f"{fix}: {install_command()}"
        if lacks_memory(error):
            reason = "there is not enough memory"
            fix = f"{MORE_MEMORY} {options.log} has the error."
        pipe.send(WorkerError(f"a worker could not start: {reason}", fix=fix))
        return

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
            try:
                pipe.send(answer(runner, request))
            except UnknownReasonError as error:
                pipe.send(_in_log(error, options.log))
            except TuneError as error:
                pipe.send(error)
            except Exception as error:  # noqa: BLE001  # torch and RecBole can raise anything
                step = _STEPS[type(request)]
                failure = WorkerError(f"{step} failed; the reason is not known")
                failure.__cause__ = error
                pipe.send(_in_log(failure, options.log))


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
