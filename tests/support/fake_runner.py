"""Substitutes for a Runner that a worker process can be started with."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from sasrecf_tune.environment import TF32_OVERRIDE
from sasrecf_tune.errors import InputError, UnknownReasonError
from sasrecf_tune.executors.pausable import current_thread
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
    Waiting,
)
from tests.support.fake_training import summary

EPOCHS = 3
# The environment variable with the file that `dies_once` creates.
NOTE = "SASRECF_TUNE_TESTS_NOTE"


class StandIn:
    """Reports `EPOCHS` epochs; the job's setting `act` says what happens after the first."""

    def __init__(
        self,
        gpu: str | None = None,
        shared: Path | None = None,
        on_waiting: Callable[[Waiting], None] = lambda _: None,
    ) -> None:
        self.gpu = gpu
        self.on_waiting = on_waiting

    def describe(self, request: Describe) -> DataSummary:
        return summary(EPOCHS)

    def measure(self, request: Measure) -> Timing:
        return Timing(1.0, 0.5, request.steps, 10)

    def measure_fusion(self, request: MeasureFusion) -> FusionTiming:
        return FusionTiming({2: 1.5}, f"{request.sharers} share")

    def train_epochs(self, requests: Sequence[object]) -> Sequence[object]:
        return requests

    def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
        print(f"trial {job.number} on card {os.environ.get('CUDA_VISIBLE_DEVICES')}")
        assert TF32_OVERRIDE not in os.environ, "a worker removes it"
        decision = Decision.CONTINUE
        curve: list[float] = []
        for epoch in range(1, EPOCHS + 1):
            curve.append(epoch / 10)
            if (thread := current_thread()) is not None:
                thread.pause(None)
            # The process number is a metric, so that a test can kill the process.
            metrics = {"mrr@10": epoch / 10, "process": float(os.getpid())}
            report = Report(job.number, epoch, epoch / 10, metrics, 1.0, epoch, ends=epoch == EPOCHS)
            decision = on_report(report)
            if decision is not Decision.CONTINUE:
                break
            if job.config.get("act") in ("wait", "have waited"):
                self.on_waiting(Waiting(over=False))
                if job.config["act"] == "have waited":
                    self.on_waiting(Waiting(over=True))
                threading.Event().wait()
            failure = act(job)
            if failure is not None:
                return failure
        return Result(
            number=job.number,
            decision=decision,
            epochs=len(curve),
            best_epoch=len(curve),
            valid={"mrr@10": curve[-1]},
            test={"mrr@10": -1.0} if decision is Decision.CONTINUE else {},
            curve={"mrr@10": curve},
            seconds=0.5,
            device="cpu",
            parameters=1,
        )


def act(job: Job) -> Failure | None:
    """Do what the job's setting `act` says."""
    match job.config.get("act"):
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(3)
        case "raise":
            raise SystemExit("as some libraries do")
        case "hang":
            threading.Event().wait()
        case "nan" | "memory" | "error" | "died" as kind:
            return Failure(job.number, FailureKind(kind), f"made to fail: {kind}", epochs=1)
    return None


class Keeping(StandIn):
    """Writes the files of a trial: a resume file after each epoch, and weights at the end."""

    def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
        assert job.resume_file is not None
        if job.resume_file.exists():
            print(f"continues from {job.resume_file.read_text()}")
        job.checkpoint.parent.mkdir(exist_ok=True)

        def write(report: Report) -> Decision:
            decision = on_report(report)
            assert job.resume_file is not None
            job.resume_file.write_text(f"epoch {report.epoch}")
            return decision

        result = super().train(job, write)
        job.checkpoint.write_text(f"weights of {job.number}")
        return result


def dies_once(gpu: str | None) -> StandIn:
    """Create a runner, but kill the first worker before it is ready."""
    note = Path(os.environ[NOTE])
    if not note.exists():
        note.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return StandIn(gpu)


def always_dies(gpu: str | None) -> StandIn:
    os.kill(os.getpid(), signal.SIGKILL)
    return StandIn(gpu)


class _Unprepared(StandIn):
    def describe(self, request: Describe) -> DataSummary:
        if request.engine == "recbole":
            raise UnknownReasonError("RecBole cannot prepare the data set") from ZeroDivisionError("by zero")
        raise ZeroDivisionError("by zero")


def cannot_prepare(gpu: str | None) -> StandIn:
    """A runner whose data cannot be prepared, for a reason that nobody has foreseen."""
    return _Unprepared()


def cannot_be_made(gpu: str | None) -> StandIn:
    raise ImportError("no such library")


class OnGpu(StandIn):
    """Has a GPU, of which a worker that was told to use a certain one finds nothing."""

    def __init__(self, gpu: str | None) -> None:
        if gpu is not None:
            raise InputError(f"torch cannot use GPU {gpu}", where="--gpus")
        super().__init__(gpu)

    def describe(self, request: Describe) -> DataSummary:
        return replace(super().describe(request), device="NVIDIA T4")
