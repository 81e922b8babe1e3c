"""The interfaces between the coordinator, the executor that it gives jobs to, and the runner in a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from sasrecf_tune.messages import (
    DataRequest,
    DataSummary,
    Decision,
    Describe,
    Failure,
    FusionTiming,
    Job,
    Measure,
    MeasureFusion,
    Report,
    Result,
    Timing,
)


class DataRequestHandler(Protocol):
    """Answers the coordinator's requests about data and speed. Workers and executors do.

    Raises:
        InputError: The configuration or the data cannot be used.
        WorkerError: No worker could be kept alive.
    """

    def describe(self, request: Describe) -> DataSummary:
        """Prepare the data and describe it."""

    def measure(self, request: Measure) -> Timing:
        """Time a few training steps."""

    def measure_fusion(self, request: MeasureFusion) -> FusionTiming:
        """Time a few steps of several trials as one model."""


def answer(service: DataRequestHandler, request: DataRequest) -> DataSummary | Timing | FusionTiming:
    """Call the method of `service` for the kind of `request`."""
    match request:
        case Describe():
            return service.describe(request)
        case Measure():
            return service.measure(request)
        case MeasureFusion():
            return service.measure_fusion(request)


class Handler(Protocol):
    """Receives what happens to the submitted jobs; the coordinator implements it."""

    def on_report(self, report: Report) -> Decision:
        """Handle a validation and decide whether its job continues."""

    def on_outcome(self, outcome: Result | Failure) -> None:
        """Handle the end of a job."""


class Executor(DataRequestHandler, Protocol):
    """Trains jobs in one or more workers.

    Attributes:
        slots: Jobs that one worker trains at a time.
        notify: Called with messages for the user, for example that workers wait for a node.
    """

    slots: int
    notify: Callable[[str], None]

    @property
    def free(self) -> int:
        """The number of jobs that can be submitted now."""

    def submit(self, job: Job) -> None:
        """Accept a job. Call it only while `free` is positive."""

    def withdraw(self) -> list[int]:
        """Remove the jobs that no worker has received yet, and return their numbers."""

    def step(self, handler: Handler, timeout: float) -> None:
        """Wait up to `timeout` seconds for messages of the jobs and pass them to `handler`.

        Raises:
            WorkerError: No worker could be kept alive.
        """

    def close(self) -> None:
        """Stop all work immediately. Calling it again has no effect."""


class Runner(DataRequestHandler, Protocol):
    """Answers the requests of one worker: `training.runner.Runner`, or a substitute in tests."""

    def train(self, job: Job, on_report: Callable[[Report], Decision], /) -> Result | Failure:
        """Train the job; `on_report` decides after each validation whether it continues.

        In a `PausableThread` it pauses before each epoch with a request that `train_epochs` answers.
        """

    def train_epochs(self, requests: Sequence[object], /) -> Sequence[object]:
        """Return the answers to the requests of paused trials, in their order."""


def discard_message(_: str) -> None:
    """Ignore a message; the initial value of `Executor.notify`."""
