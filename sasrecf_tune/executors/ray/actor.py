"""A worker on a cluster, as the coordinator sees it: the actor, its jobs, and what it is asked next."""

from __future__ import annotations

import contextlib
import signal
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sasrecf_tune.executors.ray.cluster import connection_errors, versions
from sasrecf_tune.executors.ray.node import NodeOptions, NodeReply, NodeWorker
from sasrecf_tune.messages import Decision, Job, Report


@dataclass
class Worker:
    """An actor; `answer` is the reference to what it says next, None while it has been asked nothing."""

    index: int
    actor: Any
    answer: Any = None
    node: str = ""  # that it is on, once it is up
    jobs: dict[int, Job] = field(default_factory=dict)
    given: list[Job] = field(default_factory=list)  # of its jobs, those that it has not been sent
    sent: list[Job] = field(default_factory=list)  # and those of which it has not said that they have begun
    last: dict[int, Report] = field(default_factory=dict)  # of each of its jobs
    decision: Decision | None = None  # on its last report, which it has not been sent
    retiring: bool = False  # takes no further job while it has some


class RayNodeWorker(NodeWorker):
    """A NodeWorker that knows what Ray has given it."""

    def __init__(self, options: NodeOptions) -> None:
        import ray

        # Ctrl-C and SIGTERM are the coordinator's, as with the workers it has itself.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        # What multiprocessing would have its processes run again is Ray's own program.
        vars(sys.modules["__main__"]).pop("__file__", None)
        context = ray.get_runtime_context()
        address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        node = f"{address}-{context.get_node_id()[:6]}"
        super().__init__(options, node, [str(card) for card in ray.get_gpu_ids()], ray.get)

    def start(self) -> NodeReply:
        """See `NodeWorker.start`."""
        return replace(super().start(), versions=versions())


def send_next_request(worker: Worker) -> None:
    """Ask a worker that has something to do, unless it is being asked, for what comes next."""
    if worker.answer is not None or not worker.jobs:
        return
    if worker.given:
        worker.sent, worker.given = worker.given, []
        ask(worker, "train", [(job, _content(job.unfinished)) for job in worker.sent])
    elif worker.decision is not None:
        decision, worker.decision = worker.decision, None
        ask(worker, "decide", decision)
    else:
        ask(worker, "listen")


def ask(worker: Worker, method: str, *arguments: object) -> None:
    """Have the actor do something; it does one thing at a time.

    Raises:
        WorkerError: the cluster was lost.
    """
    with connection_errors():
        worker.answer = getattr(worker.actor, method).remote(*arguments)


def _content(path: Path | None) -> bytes | None:
    with contextlib.suppress(OSError):
        return None if path is None else path.read_bytes()
    return None


def describe_loss(node: str, error: Exception) -> tuple[str, bool]:
    """What Ray knows of a lost worker, without its advice; and whether its node may have gone with it."""
    from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError

    cause = error.cause if isinstance(error, RayTaskError) else error
    text = " ".join(str(cause).split())
    where = f" on node {node}" if node else ""
    if isinstance(error, OutOfMemoryError) or "memory pressure" in text:
        return f"Ray ended the worker{where}, where memory ran out", False
    if "worker process has died" in text:
        return f"the worker{where} was lost: its process was ended", False
    if isinstance(error, RayActorError) and not error.actor_init_failed:
        return f"the worker{where} was lost, perhaps with the node", True
    return f"the worker{where} was lost: {text[:300] or type(cause).__name__}", False
