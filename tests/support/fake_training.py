"""Training whose score is a function of the configuration, in place of a model."""

from __future__ import annotations

from collections.abc import Callable

from sasrecf_tune.messages import DataSummary, Decision, Describe, Failure, Job, Report, Result


def summary(epochs: int = 5) -> DataSummary:
    """A made-up data set."""
    return DataSummary(
        dataset="ml-100k",
        users=10,
        items=20,
        interactions=100,
        train_samples=70,
        valid_samples=10,
        test_samples=10,
        item_columns=("class",),
        fingerprint="abc",
        epochs=epochs,
        metric_keys=("mrr@10",),
        device="cpu",
        threads=1,
    )


class FakeTraining:
    """Training whose score is a function of the configuration; remembers the jobs it was given."""

    def __init__(self, score: Callable[[dict[str, object]], float], epochs: int = 5) -> None:
        self.score = score
        self.epochs = epochs
        self.jobs: list[Job] = []

    def describe(self, request: Describe) -> DataSummary:
        return summary(self.epochs)

    def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
        self.jobs.append(job)
        final = self.score(job.config)
        curve: list[float] = []
        decision = Decision.CONTINUE
        for epoch in range(1, self.epochs + 1):
            curve.append(final * epoch / self.epochs)
            decision = on_report(
                Report(job.number, epoch, curve[-1], {"mrr@10": curve[-1]}, train_loss=1.0, seconds=0.1)
            )
            if decision is not Decision.CONTINUE:
                break
        return Result(
            number=job.number,
            decision=decision,
            epochs=len(curve),
            best_epoch=len(curve),
            valid={"mrr@10": curve[-1]},
            test={"mrr@10": -final} if decision is Decision.CONTINUE else {},
            curve={"mrr@10": curve},
            seconds=0.5,
            device="cpu",
            parameters=1,
        )


class Interrupting(FakeTraining):
    """Stops at a given number of epochs, as a process that is killed does."""

    def __init__(self, score: Callable[[dict[str, object]], float], after: int) -> None:
        super().__init__(score)
        self.left = after

    def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
        def counted(report: Report) -> Decision:
            decision = on_report(report)
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            return decision

        return super().train(job, counted)
