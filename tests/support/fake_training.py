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
            valid = {"mrr@10": curve[-1]}
            report = Report(job.number, epoch, curve[-1], valid, 1.0, 0.1, ends=epoch == self.epochs)
            decision = on_report(report)
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
            losses=[1.0] * len(curve),
        )


class PausableTraining(FakeTraining):
    """Training that continues from a checkpoint, which is written when a trial is paused.

    Attributes:
        trained: The (trial, epoch) pairs that were trained, in order.
        left: Ends the process that trains, as it were, before the report after so many.
    """

    def __init__(
        self, score: Callable[[dict[str, object]], float], epochs: int = 5, left: int | None = None
    ) -> None:
        super().__init__(score, epochs)
        self.trained: list[tuple[int, int]] = []
        self.left = left

    def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
        self.jobs.append(job)
        assert job.resume_file is not None
        done = int(job.resume_file.read_text()) if job.resume_file.exists() else 0
        curve = [self.score(job.config) * epoch / self.epochs for epoch in range(1, self.epochs + 1)]
        decision, epoch = Decision.CONTINUE, done
        if done:
            decision = on_report(self._report(job, curve, done, continues_after=done))
        while decision is Decision.CONTINUE and epoch < self.epochs:
            epoch += 1
            self.trained.append((job.number, epoch))
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    raise KeyboardInterrupt
            decision = on_report(self._report(job, curve, epoch))
        if decision is Decision.PAUSE:
            job.resume_file.parent.mkdir(exist_ok=True)
            job.resume_file.write_text(str(epoch))
        return Result(
            number=job.number,
            decision=decision,
            epochs=epoch,
            best_epoch=epoch,
            valid={"mrr@10": curve[epoch - 1]},
            test={"mrr@10": -curve[-1]} if decision is Decision.CONTINUE else {},
            curve={"mrr@10": curve[:epoch]},
            seconds=0.1 * epoch,
            device="cpu",
            parameters=1,
            checkpoint=epoch if decision is Decision.PAUSE else 0,
            losses=[1.0] * epoch,
        )

    def _report(self, job: Job, curve: list[float], epoch: int, continues_after: int = 0) -> Report:
        score = curve[epoch - 1]
        return Report(
            job.number,
            epoch,
            score,
            {"mrr@10": score},
            train_loss=1.0,
            seconds=0.1 * epoch,
            continues_after=continues_after,
            ends=epoch == self.epochs,
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
