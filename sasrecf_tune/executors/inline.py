"""Trials in this process, one at a time: for debuggers, and for tests with a stand-in for training."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from sasrecf_tune.executors.base import Handler
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

Train = Callable[[Job, Callable[[Report], Decision]], Result | Failure]


class InlineExecutor:
    """Runs a job to its end inside `step`.

    `train` is `trial.Runner.train` or a stand-in with its signature.
    """

    def __init__(
        self,
        train: Train,
        describe: Callable[[Describe], DataSummary],
        measure: Callable[[Measure], Timing] | None = None,
    ) -> None:
        self._train = train
        self._describe = describe
        self._measure = measure
        self._waiting: deque[Job] = deque()

    @property
    def free(self) -> int:
        """One, while no job waits."""
        return 0 if self._waiting else 1

    def describe(self, request: Describe) -> DataSummary:
        """See `Executor.describe`."""
        return self._describe(request)

    def measure(self, request: Measure) -> Timing:
        """See `Executor.measure`."""
        if self._measure is None:
            raise NotImplementedError("this executor was made without a way to measure")
        return self._measure(request)

    def submit(self, job: Job) -> None:
        """See `Executor.submit`."""
        self._waiting.append(job)

    def withdraw(self) -> list[int]:
        """See `Executor.withdraw`; none, since a job waits for the next `step` alone."""
        return []

    def step(self, handler: Handler, timeout: float) -> None:
        """See `Executor.step`; returns when the job has ended, whatever `timeout` is."""
        if self._waiting:
            outcome = self._train(self._waiting[0], handler.reported)
            self._waiting.popleft()
            handler.ended(outcome)
        else:
            time.sleep(timeout)

    def close(self) -> None:
        """See `Executor.close`."""
        self._waiting.clear()
