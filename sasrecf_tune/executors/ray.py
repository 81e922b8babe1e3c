"""Trials on the nodes of a Ray cluster: Ray places workers, carries what is said, and notices lost nodes."""

from __future__ import annotations

import contextlib
import secrets
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from sasrecf_tune.atomic_files import locate
from sasrecf_tune.errors import TuneError, WorkerError
from sasrecf_tune.executors.base import Handler
from sasrecf_tune.executors.cluster import (
    Head,
    Node,
    Share,
    check_versions,
    connected,
    connection_errors,
    nodes,
    share_for,
)
from sasrecf_tune.executors.mirror import News, unload
from sasrecf_tune.executors.node import NodeOptions, NodeWorker, Said, Shipped, ship
from sasrecf_tune.layout import Layout
from sasrecf_tune.messages import DataSummary, Describe, Failure, Job, Measure, Report, Result, Timing
from sasrecf_tune.settings import RunSettings
from sasrecf_tune.worker import RUNNER

T = TypeVar("T")

# So many workers in a row may be lost before they have begun anything: see executors/local.py.
_FAILED_STARTS = 3
# Workers that are ended have so long to leave nothing behind on their nodes.
_GOODBYE_SECONDS = 5.0
# How long one wait may last while data is prepared: it bounds how late a signal is noticed.
_TICK_SECONDS = 1.0


@contextlib.contextmanager
def ray_executor(settings: RunSettings, layout: Layout) -> Iterator[RayExecutor]:
    """Workers on the cluster that the settings name, gone when the block ends, however it ends.

    Raises:
        InputError: the data set is not there, or no node has what a worker takes.
        WorkerError: there is no such cluster, or its nodes have other versions.
    """
    # RecBole finds this one in its own package, on each node.
    builtin = settings.dataset == "ml-100k"
    part = str((settings.base.get("benchmark_filename") or [""])[0])
    found = None if builtin else locate(settings.dataset, settings.base.get("data_path"), part)
    with connected(settings.address) as head:
        import ray

        there = nodes()
        check_versions(there)
        share = share_for(settings.gpus, settings.trials_per_gpu, settings.threads, there)
        executor = RayExecutor(
            layout,
            settings.workers,
            share,
            hang_timeout=settings.search.hang_timeout,
            head=head,
            data=None if found is None else ship(found, ray.put),
        )
        try:
            yield executor
        finally:
            executor.close()


@dataclass
class _Worker:
    """An actor; `answer` is the reference to what it says next, None while it has nothing to do."""

    index: int
    actor: Any
    answer: Any = None
    node: str = ""  # that it is on, once it is up
    job: Job | None = None
    begun: bool = False  # its job
    last: Report | None = None  # of its job


class RayExecutor:
    """At most `workers` actors that each hold a `NodeWorker`; needs a connection.

    All are asked for at once, and jobs go to those that are up: the others may wait for a node. One whose
    node or process is lost is replaced, and its job becomes a Failure of kind "died". What happens to a
    worker's own process on its node is that node's LocalExecutor's to tell.
    """

    def __init__(
        self,
        layout: Layout,
        workers: int,
        share: Share,
        hang_timeout: float | None = None,
        runner: str = RUNNER,
        data: Shipped | None = None,
        head: Head | None = None,
    ) -> None:
        import ray

        actors: Any = ray  # its types know less than it does
        # A second call at a time, for `stop`.
        held = actors.remote(max_concurrency=2, max_restarts=0, **share.resources)(_Held)
        self._held = held.options(scheduling_strategy="SPREAD")
        self._layout = layout
        self._share = share
        self._head = head
        self._options = NodeOptions(
            run=f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}",
            index=0,
            home=layout,
            threads=share.cpus,
            hang_timeout=hang_timeout,
            runner=runner,
            share=workers > 1,
            data=data,
        )
        self._count = workers
        self._waiting: deque[Job] = deque()
        self._workers: list[_Worker] = []
        self._failed_starts = 0.0

    @property
    def free(self) -> int:
        """Workers that are up and without a job; one while there is no job, which may wait for a worker."""
        busy = sum(worker.job is not None for worker in self._workers)
        idle = sum(worker.node != "" for worker in self._workers) - busy - len(self._waiting)
        return max(idle, 0 if busy or self._waiting else 1)

    def describe(self, request: Describe) -> DataSummary:
        """See `Executor.describe`."""
        found = nodes()
        summary = self._call(request, DataSummary)
        return replace(summary, **_place(found, self._share, self._count, summary.notes))

    def measure(self, request: Measure) -> Timing:
        """See `Executor.measure`."""
        return self._call(request, Timing)

    def submit(self, job: Job) -> None:
        """See `Executor.submit`."""
        self._waiting.append(job)
        self._hand_out()

    def step(self, handler: Handler, timeout: float) -> None:
        """See `Executor.step`."""
        for worker in self._answered(timeout):
            said = self._heard(worker, handler)
            message = None if said is None else said.message
            if isinstance(message, Report):
                worker.last = message
                _ask(worker, "decide", handler.reported(message))
            elif isinstance(message, Result | Failure):
                worker.job = None
                handler.ended(message)
            elif worker.job is not None:
                _ask(worker, "listen")
        self._hand_out()
        if self._head is not None:
            self._head.look()

    def close(self) -> None:
        """See `Executor.close`."""
        import ray

        ending, self._workers = self._workers, []
        self._waiting.clear()
        if self._head is not None and not self._head.answers:
            return  # and so do the workers, with this process
        with contextlib.suppress(Exception):  # whatever a cluster that goes meanwhile leads to
            goodbyes = [worker.actor.stop.remote() for worker in ending if worker.node]
            if goodbyes:
                ray.wait(goodbyes, num_returns=len(goodbyes), timeout=_GOODBYE_SECONDS)
            for worker in ending:
                ray.kill(worker.actor)

    def _call(self, request: Describe | Measure, kind: type[T]) -> T:
        asked: _Worker | None = None
        while True:
            if asked is None or asked not in self._workers:  # none yet, or it was lost
                asked = next((worker for worker in self._ask_for_workers() if worker.node), None)
                if asked is not None:
                    _ask(asked, "answer", request)
            for worker in self._answered(_TICK_SECONDS):
                said = self._heard(worker, None)
                if worker is asked and said is not None:
                    self._failed_starts = 0
                    if not isinstance(said.message, kind):
                        raise WorkerError(f"the worker answered {said.message!r}, not {kind.__name__}")
                    return said.message

    def _ask_for_workers(self) -> list[_Worker]:
        taken = {worker.index for worker in self._workers}
        for index in sorted(set(range(self._count)) - taken):
            with connection_errors():
                actor = self._held.remote(replace(self._options, index=index))
            self._workers.append(_Worker(index, actor))
            _ask(self._workers[-1], "start")
        return self._workers

    def _hand_out(self) -> None:
        for worker in self._ask_for_workers():
            if self._waiting and worker.node and worker.job is None:
                worker.job, worker.begun, worker.last = self._waiting.popleft(), False, None
                _ask(worker, "train", worker.job, _content(worker.job.unfinished))

    def _answered(self, timeout: float) -> list[_Worker]:
        """Those whose answer is there, waiting up to `timeout` seconds for the first."""
        import ray

        asked = {worker.answer: worker for worker in self._workers if worker.answer is not None}
        if not asked:
            time.sleep(timeout)  # nothing is under way; the coordinator waits for what others do
            return []
        with connection_errors():
            ready, _ = ray.wait(list(asked), timeout=timeout)
            if ready:
                ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=0)
        return [asked[answer] for answer in ready]

    def _heard(self, worker: _Worker, handler: Handler | None) -> Said | None:
        """What the worker says, its files in place; None when it was lost, or had nothing to do but begin.

        Raises:
            TuneError: what it raised; StorageError where the files cannot be written.
        """
        import ray
        from ray.exceptions import RayError

        answer, worker.answer = worker.answer, None
        try:
            with connection_errors():
                said: Said = ray.get(answer)
        except RayError as error:
            self._lost(worker, error, handler)
            return None
        unload(self._layout, said.news)
        if isinstance(said.message, TuneError):
            raise said.message
        if not worker.node:
            worker.node = said.node
            return None
        if worker.job is not None and not worker.begun:
            worker.begun = True
            self._failed_starts = 0
        return said

    def _lost(self, worker: _Worker, error: Exception, handler: Handler | None) -> None:
        """Replace the worker; what it was doing is told, or done again if it had not begun."""
        import ray

        self._workers.remove(worker)
        with contextlib.suppress(Exception):  # as in `close`
            ray.kill(worker.actor)
        reason, with_node = _told(worker.node, error)
        job, worker.job = worker.job, None
        if job is not None and worker.begun:
            assert handler is not None, "only `step` has jobs"
            unload(self._layout, News({job.log.name: f"\n{reason}\n".encode()}))
            last = worker.last
            handler.ended(
                Failure(job.number, "died", reason, last.epoch if last else 0, last.seconds if last else 0.0)
            )
            return
        if job is not None:
            self._waiting.appendleft(job)
        if self._head is None or self._head.answers:
            # A node that has joined since the start may lack what the others have.
            check_versions(nodes())
        # One node that goes may take all workers with it.
        self._failed_starts += 1 / self._count if with_node else 1
        if self._failed_starts >= _FAILED_STARTS:
            raise WorkerError(f"{reason}, as others before it that had begun nothing")


class _Held(NodeWorker):
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


def _ask(worker: _Worker, method: str, *arguments: object) -> None:
    with connection_errors():
        worker.answer = getattr(worker.actor, method).remote(*arguments)


def _place(found: list[Node], share: Share, workers: int, notes: tuple[str, ...]) -> dict[str, Any]:
    place = f"ray, {len(found)} node{'s' * (len(found) != 1)}"
    room = share.room(found)
    if room < workers:
        note = f"there is room for {room} of {workers} workers ({share} each); the others wait for more"
        notes = (*notes, note)
    return {"place": place, "notes": notes}


def _content(path: Path | None) -> bytes | None:
    with contextlib.suppress(OSError):
        return None if path is None else path.read_bytes()
    return None


def _told(node: str, error: Exception) -> tuple[str, bool]:
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
