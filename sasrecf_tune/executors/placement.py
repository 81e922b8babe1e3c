"""Which worker trains a job, where a worker may train several at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from sasrecf_tune.inputs.hyperparameters import shape
from sasrecf_tune.messages import Failure, FailureKind, Job, Result


class Place(Protocol):
    """A worker with the jobs that it has, by number; one that is `retiring` takes no further."""

    jobs: dict[int, Job]
    retiring: bool


P = TypeVar("P", bound=Place)


def pick_busy_worker(job: Job, workers: Sequence[P], slots: int, idle: bool) -> P | None:
    """A busy worker with room: one with jobs of this shape, or without such one if no worker is `idle`."""
    own = shape(job.config)

    def alike(worker: P) -> int:
        return sum(shape(other.config) == own for other in worker.jobs.values())

    room = [worker for worker in workers if 0 < len(worker.jobs) < slots and not worker.retiring]
    best = max(room, key=lambda worker: (alike(worker), -len(worker.jobs)), default=None)
    return None if best is None or (idle and not alike(best)) else best


def taints(outcome: Result | Failure) -> bool:
    """Whether what is left of it (memory, a CUDA context that answers nothing but errors) may fail others."""
    return isinstance(outcome, Failure) and outcome.kind in (
        FailureKind.ERROR,
        FailureKind.MEMORY,
        FailureKind.FUSED,
    )
