"""Runs an executor and records its messages."""

from __future__ import annotations

from collections.abc import Callable

from sasrecf_tune.executors.base import Executor
from sasrecf_tune.messages import Decision, Failure, Job, Report, Result

STEPS = 600  # of 0.1 seconds: a broken executor fails a test instead of blocking it


class RecordingHandler:
    """A handler that records reports and outcomes, and answers with `decide`."""

    def __init__(self, decide: Callable[[Report], Decision] = lambda _: Decision.CONTINUE) -> None:
        self.decide = decide
        self.reports: list[Report] = []
        self.outcomes: dict[int, Result | Failure] = {}

    def on_report(self, report: Report) -> Decision:
        self.reports.append(report)
        return self.decide(report)

    def on_outcome(self, outcome: Result | Failure) -> None:
        assert outcome.number not in self.outcomes
        self.outcomes[outcome.number] = outcome

    def failure(self, number: int) -> Failure:
        outcome = self.outcomes[number]
        assert isinstance(outcome, Failure)
        return outcome

    def epochs(self, number: int) -> list[int]:
        return [report.epoch for report in self.reports if report.number == number]


def drive(executor: Executor, handler: RecordingHandler, done: Callable[[], object]) -> None:
    for _ in range(STEPS):
        if done():
            return
        executor.step(handler, 0.1)
    raise AssertionError("the jobs sent no further message")


def train(executor: Executor, handler: RecordingHandler, *jobs: Job) -> None:
    """Train all jobs, as many at a time as the executor accepts."""
    waiting = list(jobs)
    wanted = {job.number for job in jobs}

    def done() -> bool:
        while waiting and executor.free:
            executor.submit(waiting.pop(0))
        return wanted <= set(handler.outcomes)

    drive(executor, handler, done)
