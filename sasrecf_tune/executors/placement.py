"""Chooses the worker for a job where a worker may train several jobs at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeGuard, TypeVar

from sasrecf_tune.inputs.hyperparameters import shape
from sasrecf_tune.messages import Failure, FailureKind, Job, Result


class JobHolder(Protocol):
    """A worker with its jobs, by number. A worker that is `retiring` takes no further job."""

    jobs: dict[int, Job]
    retiring: bool


W = TypeVar("W", bound=JobHolder)


def pick_busy_worker(job: Job, workers: Sequence[W], slots: int, idle: bool) -> W | None:
    """Return a busy worker with a free slot.

    A worker that trains jobs of the same shape is preferred. If a worker is `idle`, no other is returned. A
    job that must train alone shares no worker.
    """
    if job.alone:
        return None
    own = shape(job.config)

    def same_shape(worker: W) -> int:
        return sum(shape(other.config) == own for other in worker.jobs.values())

    candidates = [worker for worker in workers if 0 < taken_slots(worker, slots) < slots]
    best = max(candidates, key=lambda worker: (same_shape(worker), -len(worker.jobs)), default=None)
    return None if best is None or (idle and not same_shape(best)) else best


def taken_slots(worker: JobHolder, slots: int) -> int:
    """Return how many of a worker's slots take no further job."""
    alone = any(job.alone for job in worker.jobs.values())
    return slots if worker.retiring or alone else len(worker.jobs)


def ends_worker(outcome: Result | Failure) -> TypeGuard[Failure]:
    """Return whether the job's worker reported that it can train nothing any more: its GPU failed."""
    return isinstance(outcome, Failure) and outcome.kind == FailureKind.WORKER_DIED


def taints_worker(outcome: Result | Failure) -> bool:
    """Return whether the job may leave behind what fails later jobs: lost memory, a broken CUDA context."""
    return isinstance(outcome, Failure) and outcome.kind in (
        FailureKind.ERROR,
        FailureKind.MEMORY,
        FailureKind.FUSED,
        FailureKind.WORKER_DIED,
    )
