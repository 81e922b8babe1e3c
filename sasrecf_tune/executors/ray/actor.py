"""A worker on a Ray cluster: its actor, and what the coordinator knows of it."""

from __future__ import annotations

import contextlib
import signal
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from typing_extensions import override

from sasrecf_tune.executors.ray.cluster import connection_errors
from sasrecf_tune.executors.ray.node import NodeOptions, NodeReply, NodeWorker
from sasrecf_tune.executors.ray.versions import installed_versions
from sasrecf_tune.messages import Decision, Job, Report


@dataclass
class Worker:
    """An actor and its jobs.

    Attributes:
        reply: Ray's reference to the reply of the current call; None if there is no call.
        node: The worker's node; "" until the worker has started.
        jobs: The worker's jobs, by number.
        assigned: Those of the jobs that have not been sent to the worker.
        unconfirmed: Those that have been sent, and of which it has not confirmed the start.
        last_reports: The last report of each job, by number.
        decision: The answer to the last report; None once it was sent.
        retiring: Whether the worker takes no further job until the others have ended.
    """

    index: int
    actor: Any
    reply: Any = None
    node: str = ""
    jobs: dict[int, Job] = field(default_factory=dict)
    assigned: list[Job] = field(default_factory=list)
    unconfirmed: list[Job] = field(default_factory=list)
    last_reports: dict[int, Report] = field(default_factory=dict)
    decision: Decision | None = None
    retiring: bool = False


class RayNodeWorker(NodeWorker):
    """A NodeWorker in a Ray actor; Ray assigns its GPUs."""

    def __init__(self, options: NodeOptions) -> None:
        import ray

        # As for local workers, only the coordinator acts on Ctrl-C and SIGTERM.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        context = ray.get_runtime_context()
        address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        node = f"{address}-{context.get_node_id()[:6]}"
        super().__init__(options, node, [str(gpu) for gpu in ray.get_gpu_ids()], ray.get)

    @override
    def start(self) -> NodeReply:
        return replace(super().start(), versions=installed_versions())


def send_next_call(worker: Worker) -> None:
    """Call the actor for its new jobs, for its last decision or for its next message.

    Nothing is called if a call is in progress or the worker has no jobs.
    """
    if worker.reply is not None or not worker.jobs:
        return
    if worker.assigned:
        worker.unconfirmed, worker.assigned = worker.assigned, []
        call(worker, "train", [(job, _content(job.resume_file)) for job in worker.unconfirmed])
    elif worker.decision is not None:
        decision, worker.decision = worker.decision, None
        call(worker, "decide", decision)
    else:
        call(worker, "listen")


def call(worker: Worker, method: str, *arguments: object) -> None:
    """Call a method of the actor. It executes one call at a time.

    Raises:
        WorkerError: The cluster was lost.
    """
    with connection_errors():
        worker.reply = getattr(worker.actor, method).remote(*arguments)


def _content(path: Path | None) -> bytes | None:
    with contextlib.suppress(OSError):
        return None if path is None else path.read_bytes()
    return None


def describe_loss(node: str, error: Exception) -> tuple[str, bool]:
    """Return why a worker was lost, without Ray's advice, and whether its node may be lost too."""
    from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError

    cause = error.cause if isinstance(error, RayTaskError) else error
    text = " ".join(str(cause).split())
    where = f" on node {node}" if node else ""
    if isinstance(error, OutOfMemoryError) or "memory pressure" in text:
        return f"Ray ended the worker{where} because memory ran out", False
    if "worker process has died" in text:
        return f"the worker{where} was lost: its process was ended", False
    if isinstance(error, RayActorError) and not error.actor_init_failed:
        return f"the worker{where} was lost, perhaps with the node", True
    return f"the worker{where} was lost: {text[:300] or type(cause).__name__}", False
