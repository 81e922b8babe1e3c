"""Stands in for training, so that a search costs what its coordinator costs."""

from __future__ import annotations

from collections.abc import Callable

from sasrecf_tune.messages import DataSummary, Decision, Describe, Job, Measure, Report, Result, Timing


class Instant:
    """Stands in for training: reports at once what a made-up function says."""

    def __init__(self, gpu: str | None) -> None:
        self.gpu = gpu

    def describe(self, request: Describe) -> DataSummary:
        """Nothing is asked."""
        raise NotImplementedError

    def measure(self, request: Measure) -> Timing:
        """Nothing is asked."""
        raise NotImplementedError

    def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result:
        """Report `epochs` times."""
        best = 0.05 - abs(job.config["learning_rate"] - 0.005) / 10 + job.config["n_layers"] / 1000
        epochs = int(job.config["epochs"])
        curve: list[float] = []
        decision = Decision.CONTINUE
        for epoch in range(1, epochs + 1):
            score = round(best * epoch / epochs, 4)
            curve.append(score)
            decision = on_report(Report(job.number, epoch, score, {"mrr@10": score}, 1.0, 0.0))
            if decision is not Decision.CONTINUE:
                break
        return Result(
            number=job.number,
            decision=decision,
            epochs=len(curve),
            best_epoch=len(curve),
            valid={"mrr@10": curve[-1]},
            test={"mrr@10": 0.0} if decision is Decision.CONTINUE else {},
            curve={"mrr@10": curve},
            seconds=0.0,
            device="none",
            parameters=1,
        )
