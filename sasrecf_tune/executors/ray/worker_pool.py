"""The workers of a run on a Ray cluster: requested, replaced when they are lost, released when idle."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sasrecf_tune.environment import install_command
from sasrecf_tune.errors import TuneError, WorkerError
from sasrecf_tune.executors.local import MAX_FAILED_STARTS
from sasrecf_tune.executors.ray.actor import RayNodeWorker, Worker, call, describe_loss
from sasrecf_tune.executors.ray.cluster import (
    Head,
    Node,
    WorkerResources,
    connection_errors,
    free_capacity,
    running_nodes,
)
from sasrecf_tune.executors.ray.file_sync import apply_changes
from sasrecf_tune.executors.ray.node import NodeOptions, NodeReply
from sasrecf_tune.executors.ray.versions import (
    compare_versions,
    find_differences,
    installed_versions,
    raise_for_differences,
)
from sasrecf_tune.executors.ray.waiting import WaitingWorkers, waiting_message

# Seconds that workers have to delete their files before they are killed.
_STOP_SECONDS = 5.0
# Seconds that nodes have to answer the question for their versions while others train.
_VERSION_SECONDS = 5.0
# Longest single wait while data is prepared: it bounds the delay until a signal is noticed.
TICK_SECONDS = 1.0


class WorkerPool:
    """Keeps up to `limit` workers, each an actor with a `NodeWorker`.

    All are requested at once. Workers that wait for a node do not delay the others. If a node that joins
    later has other versions, the limit is lowered by one instead of using it, as long as some worker is
    running.

    Attributes:
        limit: The largest number of workers.
        workers: All requested workers, running or not.
        target: Number of workers needed now: fewer than `limit` after idle ones were released.
    """

    def __init__(
        self,
        options: NodeOptions,
        limit: int,
        resources: WorkerResources,
        head: Head | None,
        clock: Callable[[], float],
        notify: Callable[[str], None],
    ) -> None:
        import ray

        untyped_ray: Any = ray  # its type hints lack the options
        # A second concurrent call, for `stop`.
        actor_class = untyped_ray.remote(max_concurrency=2, max_restarts=0, **resources.ray_options)
        self._actor_class = actor_class(RayNodeWorker).options(scheduling_strategy="SPREAD")
        self._options = options
        self._resources = resources
        self._head = head
        self._clock = clock
        self._notify = notify
        self._failed_starts = 0.0
        self._known_differences: set[str] = set()  # that the user was told
        self._waiting = WaitingWorkers(resources.capacity(running_nodes()) > 0, clock)
        self.limit = self.target = limit
        self.workers: list[Worker] = []

    @property
    def running(self) -> list[Worker]:
        """The workers that have started."""
        return [worker for worker in self.workers if worker.node]

    def request_workers(self) -> None:
        """Request the workers that are missing, and tell the user about those that wait."""
        if len(self.workers) < self.target and self._head_reachable():
            taken = {worker.index for worker in self.workers}
            free = sorted(set(range(self.limit)) - taken)
            for index in free[: max(0, self.target - len(taken))]:
                with connection_errors():
                    actor = self._actor_class.remote(replace(self._options, index=index))
                self.workers.append(Worker(index, actor))
                call(self.workers[-1], "start")
        waiting = len(self.workers) - len(self.running)
        if message := self._waiting.next_message(waiting, lambda: self._waiting_message(waiting)):
            self._notify(message)

    def raise_target(self, jobs: int) -> None:
        """Request workers for so many more jobs, beyond those that are already starting."""
        starting = len(self.workers) - len(self.running)
        self.target = min(self.limit, max(self.target, len(self.workers) + jobs - starting))

    def release_idle(self, jobs_waiting: bool) -> None:
        """End workers that have been idle for long: other programs may need the resources."""
        idle = [worker for worker in self.workers if not worker.jobs]
        some = any(worker.node for worker in idle) and len(idle) < len(self.workers) and not jobs_waiting
        if self._waiting.idle_too_long(some) and self._head_reachable():
            self.end(idle)
            self.target = len(self.workers)
            self._waiting = WaitingWorkers(True, self._clock)

    def end(self, ending: list[Worker]) -> None:
        """End workers; those that run have a few seconds to delete their files."""
        import ray

        self.workers = [worker for worker in self.workers if worker not in ending]
        if self._head is not None and not self._head.reachable:
            return  # the workers end with this process
        with contextlib.suppress(Exception):  # the cluster may be lost in the meantime
            stops = [worker.actor.stop.remote() for worker in ending if worker.node]
            if stops:
                ray.wait(stops, num_returns=len(stops), timeout=_STOP_SECONDS)
            for worker in ending:
                ray.kill(worker.actor)

    def wait_for_replies(self, timeout: float) -> list[Worker]:
        """Return the workers whose reply has arrived, waiting up to `timeout` seconds for the first."""
        import ray

        called = {worker.reply: worker for worker in self.workers if worker.reply is not None}
        if not called:
            time.sleep(timeout)  # no call is in progress: the caller waits for other runs
            return []
        with connection_errors():
            ready, _ = ray.wait(list(called), timeout=timeout)
            if ready:
                ready, _ = ray.wait(list(called), num_returns=len(called), timeout=0)
        return [called[reply] for reply in ready]

    def receive(self, worker: Worker) -> NodeReply | None:
        """Return a worker's reply, with its files stored; None for the reply to `start`.

        Raises:
            RayError: The worker was lost.
            TuneError: The error that it replied; StorageError if a file cannot be written.
        """
        import ray

        reference, worker.reply = worker.reply, None
        with connection_errors():
            reply: NodeReply = ray.get(reference)
        apply_changes(self._options.study_dir, reply.changes)
        if isinstance(reply.message, TuneError):
            raise reply.message
        if not worker.node:
            # The node may have joined after the versions were checked.
            if differences := compare_versions(installed_versions(), reply.versions, reply.node):
                self.end([worker])
                self._lower_limit(differences)
            else:
                worker.node = reply.node
            return None
        if worker.unconfirmed:
            worker.unconfirmed.clear()
            self._failed_starts = 0
        return reply

    def remove_lost(self, worker: Worker, error: Exception) -> tuple[str, bool]:
        """Remove a lost worker. Returns why it was lost, and whether its node may be lost too."""
        import ray

        self.workers.remove(worker)
        if self._head_reachable():
            with contextlib.suppress(Exception):  # the cluster may be lost in the meantime
                ray.kill(worker.actor)
        return describe_loss(worker.node, error)

    def count_failed_start(self, worker: Worker, reason: str, node_lost: bool) -> None:
        """Count a worker that was lost before it had started any job.

        Raises:
            WorkerError: Too many were lost in a row, or no node has the right versions.
        """
        # A node that has joined after the versions were checked may lack a package.
        check = not worker.node and not node_lost and self._head_reachable()
        if check and (differences := find_differences(running_nodes(), _VERSION_SECONDS)):
            self._lower_limit(differences)
            return
        # A single lost node may take all workers with it.
        self._failed_starts += 1 / self.limit if node_lost else 1
        if self._failed_starts >= MAX_FAILED_STARTS:
            raise WorkerError(f"{reason}, like others before it that had not started a job")

    def reset_failed_starts(self) -> None:
        """Forget earlier failed starts: a worker has answered."""
        self._failed_starts = 0

    def nodes(self) -> list[Node]:
        """Return the running nodes, waiting until the head node is reachable."""
        while not self._head_reachable():
            time.sleep(TICK_SECONDS)
        return running_nodes()

    def check_head(self) -> None:
        """Check the head node, if that is due.

        Raises:
            WorkerError: It has not responded for too long.
        """
        if self._head is not None:
            self._head.check()

    def _head_reachable(self) -> bool:
        """Check the head node: without it, Ray would block and then end this process.

        Raises:
            WorkerError: It has not responded for too long.
        """
        if self._head is None:
            return True
        self._head.check(force=True)
        return self._head.reachable

    def _waiting_message(self, waiting: int) -> str:
        if not self._head_reachable():
            return ""
        unused = free_capacity(self._resources)
        return waiting_message(waiting, len(self.workers), self._resources, running_nodes(), unused)

    def _lower_limit(self, differences: list[str]) -> None:
        """Use one worker fewer because a node differs.

        Raises:
            WorkerError: No worker is running.
        """
        if not self.running:
            raise_for_differences(differences)
        self.limit -= 1
        self.target = min(self.target, self.limit)
        if not self._known_differences.issuperset(differences):
            self._known_differences.update(differences)
            install = install_command(extra="ray")
            self._notify(f"nodes with other versions are not used: {'; '.join(differences)}; {install}")
