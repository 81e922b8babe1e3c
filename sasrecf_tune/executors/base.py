"""What the coordinator needs of whatever trains its trials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from sasrecf_tune.messages import (
    DataSummary,
    Decision,
    Describe,
    Failure,
    Job,
    Measure,
    Report,
    Result,
    Timing,
)


class Handler(Protocol):
    """The coordinator's side: told of what happens to its jobs."""

    def reported(self, report: Report) -> Decision:
        """A validation; the answer says how to go on."""

    def ended(self, outcome: Result | Failure) -> None:
        """A job is over."""


class Executor(Protocol):
    """Trains jobs, `free` of them at a time more than it has now."""

    @property
    def free(self) -> int:
        """How many more jobs it would take now."""

    def describe(self, request: Describe) -> DataSummary:
        """Prepare the data and say what it holds.

        Raises:
            InputError: configuration or data cannot be used.
            WorkerError: no worker could be kept alive.
        """

    def measure(self, request: Measure) -> Timing:
        """Time a few steps. Raises as `describe`."""

    def submit(self, job: Job) -> None:
        """Take a job; only when `free` is above zero."""

    def withdraw(self) -> list[int]:
        """Take back the jobs that no worker has been sent, which may wait for one for ever; their numbers."""

    def step(self, handler: Handler, timeout: float) -> None:
        """Wait up to `timeout` seconds for news of the jobs and pass them to `handler`.

        Raises:
            WorkerError: no worker could be kept alive.
        """

    def close(self) -> None:
        """Stop all work at once; safe to call twice."""


@runtime_checkable
class Telling(Protocol):
    """An executor that has something to tell people."""

    say: Callable[[str], None]
