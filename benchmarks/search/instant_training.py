"""Training that takes no time, so that a search costs only what its coordinator costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from typing_extensions import override

from sasrecf_tune.messages import DataSummary, Decision, Describe, Job, Measure, Report, Result, Timing

METRIC = "mrr@10"


def fake_data_summary(epochs: int) -> DataSummary:
    """Return the summary of a data set that does not exist."""
    return DataSummary(
        dataset="ml-100k",
        users=10,
        items=20,
        interactions=100,
        train_samples=70,
        valid_samples=10,
        test_samples=10,
        item_columns=("class",),
        fingerprint="made-up",
        epochs=epochs,
        metric_keys=(METRIC,),
        device="none",
        threads=1,
    )


def report_scores(job: Job, scores: Iterable[float], on_report: Callable[[Report], Decision]) -> Result:
    """Report these scores, one an epoch, and return the result; the last of equal scores is the best."""
    decision = Decision.CONTINUE
    curve: list[float] = []
    scores = list(scores)
    for epoch, score in enumerate(scores, 1):
        curve.append(score)
        report = Report(job.number, epoch, score, {METRIC: score}, 1.0, 0.0, ends=epoch == len(scores))
        decision = on_report(report)
        if decision is not Decision.CONTINUE:
            break
    best = max(curve)
    return Result(
        number=job.number,
        decision=decision,
        epochs=len(curve),
        best_epoch=len(curve) - curve[::-1].index(best),
        valid={METRIC: best},
        test={METRIC: 0.0} if decision is Decision.CONTINUE else {},
        curve={METRIC: curve},
        seconds=0.0,
        device="none",
        parameters=1,
    )


class InstantRunner:
    """A runner that reports the values of a simple function without training."""

    def __init__(self, gpu: str | None) -> None:
        self.gpu = gpu

    def describe(self, request: Describe) -> DataSummary:
        """Return a made-up data set."""
        return fake_data_summary(int(request.config["epochs"]))

    def measure(self, request: Measure) -> Timing:
        """Not used: these searches measure no timing."""
        raise NotImplementedError

    def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result:
        """Report once for each epoch."""
        best = 0.05 - abs(job.config["learning_rate"] - 0.005) / 10 + job.config["n_layers"] / 1000
        epochs = int(job.config["epochs"])
        return report_scores(
            job, (round(best * epoch / epochs, 4) for epoch in range(1, epochs + 1)), on_report
        )


class PacedRunner(InstantRunner):
    """An `InstantRunner` that reports every 100 ms, with the wait for the last decision as `seconds`."""

    @override
    def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result:
        due, waited = time.monotonic(), 0.0

        def paced(report: Report) -> Decision:
            nonlocal due, waited
            due = max(due + 0.1, time.monotonic())
            time.sleep(due - time.monotonic() if due > time.monotonic() else 0)
            asked = time.monotonic()
            decision = on_report(replace(report, seconds=waited))
            waited = time.monotonic() - asked
            return decision

        return super().train(job, paced)
