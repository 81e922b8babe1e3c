"""Trains jobs on the nodes of a Ray cluster."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from typing_extensions import override

from sasrecf_tune.errors import WorkerError
from sasrecf_tune.executors.base import Executor, Handler, discard_message
from sasrecf_tune.executors.placement import pick_busy_worker, taints_worker, taken_slots
from sasrecf_tune.executors.ray.actor import Worker, call, send_next_call
from sasrecf_tune.executors.ray.cluster import (
    Head,
    WorkerResources,
    choose_resources,
    connected,
    running_nodes,
)
from sasrecf_tune.executors.ray.file_sync import FileChanges, apply_changes
from sasrecf_tune.executors.ray.node import NodeOptions, NodeReply
from sasrecf_tune.executors.ray.shipped_dataset import ShippedDataset, ship_dataset
from sasrecf_tune.executors.ray.versions import check_versions
from sasrecf_tune.executors.ray.worker_pool import TICK_SECONDS, WorkerPool
from sasrecf_tune.executors.worker import RUNNER
from sasrecf_tune.inputs.dataset_files import locate
from sasrecf_tune.inputs.hyperparameters import BUILTIN_DATASET
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.messages import (
    DataRequest,
    DataSummary,
    Describe,
    Failure,
    FailureKind,
    FusionTiming,
    Job,
    Measure,
    MeasureFusion,
    Report,
    Result,
    Timing,
)
from sasrecf_tune.storage.directory import StudyDirectory

T = TypeVar("T")


@contextlib.contextmanager
def ray_executor(settings: RunSettings, study_dir: StudyDirectory) -> Iterator[RayExecutor]:
    """Connect to the cluster of `settings`, and end all workers with the block.

    Raises:
        InputError: The data set is missing, or no node has the resources for a worker.
        WorkerError: There is no such cluster, or its nodes have other versions.
    """
    builtin = settings.dataset == BUILTIN_DATASET  # every node has it
    parts = settings.base.get("benchmark_filename")
    data = None if builtin else locate(settings.dataset, settings.base.get("data_path"), parts)
    with connected(settings.address) as head:
        import ray

        nodes = running_nodes()
        check_versions(nodes, head)
        executor = RayExecutor(
            study_dir,
            settings.workers or 1,  # Ray's must be given
            choose_resources(settings.gpus, settings.trials_per_gpu, settings.threads, nodes),
            hang_timeout=settings.search.hang_timeout,
            head=head,
            data=None if data is None else ship_dataset(data, ray.put),
            slots=settings.fuse,
        )
        try:
            yield executor
        finally:
            executor.close()


class RayExecutor(Executor):
    """Trains jobs in the workers of a `WorkerPool`; requires a connection to the cluster.

    If a worker or its node is lost, its jobs become failures as with `LocalExecutor`. The worker's
    LocalExecutor handles the loss of the process that it starts on its node.

    Args:
        workers: The largest number of workers.
        resources: What a worker takes of its node.
        data: The data set for the nodes; None if they have it.
        head: Checks the head node; None to skip these checks.
        hang_timeout, runner, slots, clock: See `LocalExecutor`.
    """

    def __init__(
        self,
        study_dir: StudyDirectory,
        workers: int,
        resources: WorkerResources,
        hang_timeout: float | None = None,
        runner: str = RUNNER,
        data: ShippedDataset | None = None,
        head: Head | None = None,
        slots: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        options = NodeOptions(
            run=f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}",
            index=0,
            study_dir=study_dir,
            threads=resources.cpus,
            hang_timeout=hang_timeout,
            runner=runner,
            share=workers > 1,
            concurrent=slots != 1,
            data=data,
        )
        self._study_dir = study_dir
        self._resources = resources
        self._waiting: deque[Job] = deque()
        self._pool = WorkerPool(
            options, workers, resources, head, clock, lambda message: self.notify(message)
        )
        self.slots = max(1, slots)
        self.notify: Callable[[str], None] = discard_message

    @property
    @override
    def free(self) -> int:
        if any(job.alone for job in self._waiting):
            return 0  # so that a worker becomes idle
        # The slots of running workers and of released ones. At least one job may wait for a worker.
        pool = self._pool
        running = sum(self.slots - taken_slots(worker, self.slots) for worker in pool.running)
        released = self.slots * (pool.limit - pool.target)
        busy = self._waiting or any(worker.jobs for worker in pool.workers)
        return max(running + released - len(self._waiting), 0 if busy else 1)

    @override
    def describe(self, request: Describe) -> DataSummary:
        summary = self._request(request, DataSummary)
        nodes, workers = self._pool.nodes(), self._pool.limit
        notes, room = summary.notes, self._resources.capacity(nodes)
        if room < workers:
            waiting = (
                f"there is room for {room} of {workers} workers ({self._resources} each); the others wait"
            )
            notes = (*notes, waiting)
        return replace(summary, place=f"ray, {len(nodes)} node{'s' * (len(nodes) != 1)}", notes=notes)

    @override
    def measure(self, request: Measure) -> Timing:
        return self._request(request, Timing)

    @override
    def measure_fusion(self, request: MeasureFusion) -> FusionTiming:
        # Workers share a GPU, or the memory of the largest node.
        largest = max(self._resources.capacity([node]) for node in self._pool.nodes())
        sharers = self._resources.per_gpu or min(self._pool.limit, largest)
        return self._request(replace(request, sharers=max(1, sharers)), FusionTiming)

    @override
    def submit(self, job: Job) -> None:
        self._waiting.append(job)

    @override
    def withdraw(self) -> list[int]:
        withdrawn = [job.number for job in self._waiting]
        self._waiting.clear()
        for worker in self._pool.workers:
            for job in worker.assigned:
                del worker.jobs[job.number]
                withdrawn.append(job.number)
            worker.assigned.clear()
            worker.retiring = worker.retiring and bool(worker.jobs)
        return withdrawn

    @override
    def step(self, handler: Handler, timeout: float) -> None:
        self._assign_jobs()
        for worker in self._pool.workers:
            send_next_call(worker)
        for worker in self._pool.wait_for_replies(timeout):
            reply = self._receive(worker, handler)
            message = None if reply is None else reply.message
            if isinstance(message, Report):
                worker.last_reports[message.number] = message
                worker.decision = handler.on_report(message)
            elif isinstance(message, Result | Failure):
                del worker.jobs[message.number]
                worker.last_reports.pop(message.number, None)
                worker.retiring = bool(worker.jobs) and (worker.retiring or taints_worker(message))
                handler.on_outcome(message)
        self._pool.release_idle(bool(self._waiting))
        self._pool.check_head()

    @override
    def close(self) -> None:
        self._waiting.clear()
        self._pool.end(list(self._pool.workers))

    def _request(self, request: DataRequest, kind: type[T]) -> T:
        called: Worker | None = None
        while True:
            if called is None or called not in self._pool.workers:  # none yet, or it was lost
                self._pool.request_workers()
                called = next(iter(self._pool.running), None)
                if called is not None:
                    call(called, "answer", request)
            for worker in self._pool.wait_for_replies(TICK_SECONDS):
                reply = self._receive(worker, None)
                if worker is called and reply is not None:
                    self._pool.reset_failed_starts()
                    if not isinstance(reply.message, kind):
                        raise WorkerError(f"the worker answered {reply.message!r}, not {kind.__name__}")
                    return reply.message
            self._pool.check_head()

    def _assign_jobs(self) -> None:
        self._pool.request_workers()
        running = self._pool.running
        while self._waiting:
            idle = next((worker for worker in running if not worker.jobs), None)
            worker = pick_busy_worker(self._waiting[0], running, self.slots, idle is not None) or idle
            if worker is None:
                break
            job = self._waiting.popleft()
            worker.jobs[job.number] = job
            worker.assigned.append(job)
        self._pool.raise_target(len(self._waiting))

    def _receive(self, worker: Worker, handler: Handler | None) -> NodeReply | None:
        from ray.exceptions import RayError

        try:
            return self._pool.receive(worker)
        except RayError as error:
            self._handle_loss(worker, error, handler)
            return None

    def _handle_loss(self, worker: Worker, error: Exception, handler: Handler | None) -> None:
        """Fail the jobs that the lost worker had started, and queue the others again."""
        reason, node_lost = self._pool.remove_lost(worker, error)
        not_started = [*worker.unconfirmed, *worker.assigned]
        started = [job for job in worker.jobs.values() if job not in not_started]
        kind = FailureKind.FUSED if len(started) > 1 else FailureKind.WORKER_DIED
        self._waiting.extendleft(reversed(not_started))
        for job in started:
            assert handler is not None, "only `step` has jobs"
            apply_changes(self._study_dir, FileChanges({job.log.name: f"\n{reason}\n".encode()}))
            last = worker.last_reports.get(job.number)
            handler.on_outcome(Failure.after_report(job.number, last, kind, reason))
        if not started:
            self._pool.count_failed_start(worker, reason, node_lost)
