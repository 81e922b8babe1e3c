"""Stands in for training, so that a search costs what its coordinator costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from sasrecf_tune.messages import DataSummary, Decision, Describe, Job, Measure, Report, Result, Timing

METRIC = "mrr@10"


def made_up(epochs: int) -> DataSummary:
    """A data set that is nowhere."""
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


def played(job: Job, scores: Iterable[float], on_report: Callable[[Report], Decision]) -> Result:
    """What a trial would send that had these scores, one an epoch; the last of equal ones is the best."""
    decision = Decision.CONTINUE
    curve: list[float] = []
    for epoch, score in enumerate(scores, 1):
        curve.append(score)
        decision = on_report(Report(job.number, epoch, score, {METRIC: score}, 1.0, 0.0))
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


class Instant:
    """Stands in for training: reports at once what a made-up function says."""

    def __init__(self, gpu: str | None) -> None:
        self.gpu = gpu

    def describe(self, request: Describe) -> DataSummary:
        """Made-up data."""
        return made_up(int(request.config["epochs"]))

    def measure(self, request: Measure) -> Timing:
        """Nothing is asked."""
        raise NotImplementedError

    def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result:
        """Report `epochs` times."""
        best = 0.05 - abs(job.config["learning_rate"] - 0.005) / 10 + job.config["n_layers"] / 1000
        epochs = int(job.config["epochs"])
        return played(job, (round(best * epoch / epochs, 4) for epoch in range(1, epochs + 1)), on_report)


class Paced(Instant):
    """Reports every 100 ms what Instant would; a report's seconds are how long the last answer took."""

    def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result:
        """See `Instant`."""
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
