"""Trains jobs in this process, one at a time: for debuggers, and for tests with a substitute for training."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from typing_extensions import override

from sasrecf_tune.executors.base import Executor, Handler, discard_message
from sasrecf_tune.messages import (
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

Train = Callable[[Job, Callable[[Report], Decision]], Result | Failure]


class InlineExecutor(Executor):
    """Runs a whole job inside `step`, whatever its timeout is. The arguments are methods of a `Runner`."""

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
        self.slots = 1
        self.notify: Callable[[str], None] = discard_message

    @property
    @override
    def free(self) -> int:
        return 0 if self._waiting else 1

    @override
    def describe(self, request: Describe) -> DataSummary:
        return self._describe(request)

    @override
    def measure(self, request: Measure) -> Timing:
        if self._measure is None:
            raise NotImplementedError("this executor was created without `measure`")
        return self._measure(request)

    @override
    def measure_fusion(self, request: MeasureFusion) -> FusionTiming:
        return FusionTiming({}, "this executor trains in the coordinator's process")

    @override
    def submit(self, job: Job) -> None:
        self._waiting.append(job)

    @override
    def withdraw(self) -> list[int]:
        return []  # a job waits only until the next `step`

    @override
    def step(self, handler: Handler, timeout: float) -> None:
        if self._waiting:
            outcome = self._train(self._waiting[0], handler.on_report)
            self._waiting.popleft()
            handler.on_outcome(outcome)
        else:
            time.sleep(timeout)

    @override
    def close(self) -> None:
        self._waiting.clear()
