"""Trials on the nodes of a Ray cluster: Ray places workers, carries what is said, and notices lost nodes."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from sasrecf_tune.environment import install_command
from sasrecf_tune.errors import TuneError, WorkerError
from sasrecf_tune.executors.base import Handler
from sasrecf_tune.executors.placement import pick_busy_worker, taints
from sasrecf_tune.executors.ray.actor import RayNodeWorker, Worker, ask, describe_loss, send_next_request
from sasrecf_tune.executors.ray.cluster import (
    Head,
    Node,
    Share,
    check_versions,
    connected,
    connection_errors,
    differences,
    nodes,
    refuse,
    share_for,
    unused,
    version_difference,
    versions,
)
from sasrecf_tune.executors.ray.file_sync import News, apply_news
from sasrecf_tune.executors.ray.node import NodeOptions, NodeReply, ShippedDataset, ship
from sasrecf_tune.executors.ray.waiting import WaitingWorkers, waiting_text
from sasrecf_tune.executors.worker import RUNNER
from sasrecf_tune.inputs.dataset_files import locate
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.messages import (
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

# So many workers in a row may be lost before they have begun anything: see executors/local.py.
_FAILED_STARTS = 3
# Workers that are ended have so long to leave nothing behind on their nodes.
_GOODBYE_SECONDS = 5.0
# Nodes have so long to say their versions while others train.
_AGAIN_SECONDS = 5.0
# How long one wait may last while data is prepared: it bounds how late a signal is noticed.
_TICK_SECONDS = 1.0


@contextlib.contextmanager
def ray_executor(settings: RunSettings, study_dir: StudyDirectory) -> Iterator[RayExecutor]:
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
            study_dir,
            settings.workers,
            share,
            hang_timeout=settings.search.hang_timeout,
            head=head,
            data=None if found is None else ship(found, ray.put),
            slots=settings.fuse,
        )
        try:
            yield executor
        finally:
            executor.close()


class RayExecutor:
    """At most `workers` actors that each hold a `NodeWorker`; needs a connection.

    All are asked for at once, and jobs go to those that are up: the others may wait for a node. One whose
    node or process is lost is replaced, and its jobs become Failures of kind WORKER_DIED. What happens to a
    worker's own process on its node is that node's LocalExecutor's to tell. Those that have had nothing to
    do for long are let go of, and asked for again when there is. Where a node that joins is not like the
    others, and some workers are up, there will be one worker fewer instead of one there.

    A worker takes up to `slots` jobs at a time; 0 is one, until `slots` is set. `say` tells people things.
    """

    def __init__(
        self,
        study_dir: StudyDirectory,
        workers: int,
        share: Share,
        hang_timeout: float | None = None,
        runner: str = RUNNER,
        data: ShippedDataset | None = None,
        head: Head | None = None,
        slots: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        import ray

        actors: Any = ray  # its types know less than it does
        # A second call at a time, for `stop`.
        held = actors.remote(max_concurrency=2, max_restarts=0, **share.resources)(RayNodeWorker)
        self._held = held.options(scheduling_strategy="SPREAD")
        self._layout = study_dir
        self._share = share
        self._head = head
        self._options = NodeOptions(
            run=f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}",
            index=0,
            home=study_dir,
            threads=share.cpus,
            hang_timeout=hang_timeout,
            runner=runner,
            share=workers > 1,
            together=slots != 1,
            data=data,
        )
        self._count = self._wanted = workers
        self._waiting: deque[Job] = deque()
        self._workers: list[Worker] = []
        self._failed_starts = 0.0
        self._unlike: set[str] = set()  # what was told of nodes that differ
        self._clock = clock
        self._waits = WaitingWorkers(share.room(nodes()) > 0, clock)
        self.slots = max(1, slots)
        self.say: Callable[[str], None] = lambda _: None

    @property
    def free(self) -> int:
        """Slots of workers that are up, or were let go of; one while there is no job, which may wait."""
        up = sum(
            self.slots - len(worker.jobs) for worker in self._workers if worker.node and not worker.retiring
        )
        busy = self._waiting or any(worker.jobs for worker in self._workers)
        let_go = self.slots * (self._count - self._wanted)
        return max(up + let_go - len(self._waiting), 0 if busy else 1)

    def describe(self, request: Describe) -> DataSummary:
        """See `Executor.describe`."""
        summary = self._call(request, DataSummary)
        return replace(summary, **_place(self._nodes(), self._share, self._count, summary.notes))

    def measure(self, request: Measure) -> Timing:
        """See `Executor.measure`."""
        return self._call(request, Timing)

    def measure_fusion(self, request: MeasureFusion) -> FusionTiming:
        """See `fusing.Fusing`. Raises as `describe`."""
        # Those that divide a card, or the memory of the largest node.
        room = max(self._share.room([node]) for node in self._nodes())
        sharers = self._share.of_gpu or min(self._count, room)
        return self._call(replace(request, sharers=max(1, sharers)), FusionTiming)

    def submit(self, job: Job) -> None:
        """See `Executor.submit`."""
        self._waiting.append(job)

    def withdraw(self) -> list[int]:
        """See `Executor.withdraw`."""
        withdrawn = [job.number for job in self._waiting]
        self._waiting.clear()
        for worker in self._workers:
            for job in worker.given:
                del worker.jobs[job.number]
                withdrawn.append(job.number)
            worker.given.clear()
            worker.retiring = worker.retiring and bool(worker.jobs)
        return withdrawn

    def step(self, handler: Handler, timeout: float) -> None:
        """See `Executor.step`."""
        self._hand_out()
        for worker in self._workers:
            send_next_request(worker)
        for worker in self._answered(timeout):
            said = self._heard(worker, handler)
            message = None if said is None else said.message
            if isinstance(message, Report):
                worker.last[message.number] = message
                worker.decision = handler.reported(message)
            elif isinstance(message, Result | Failure):
                del worker.jobs[message.number]
                worker.last.pop(message.number, None)
                worker.retiring = bool(worker.jobs) and (worker.retiring or taints(message))
                handler.ended(message)
        self._let_go()
        if self._head is not None:
            self._head.look()

    def close(self) -> None:
        """See `Executor.close`."""
        self._waiting.clear()
        self._end(list(self._workers))

    def _end(self, ending: list[Worker]) -> None:
        import ray

        self._workers = [worker for worker in self._workers if worker not in ending]
        if self._head is not None and not self._head.answers:
            return  # and so do the workers, with this process
        with contextlib.suppress(Exception):  # whatever a cluster that goes meanwhile leads to
            goodbyes = [worker.actor.stop.remote() for worker in ending if worker.node]
            if goodbyes:
                ray.wait(goodbyes, num_returns=len(goodbyes), timeout=_GOODBYE_SECONDS)
            for worker in ending:
                ray.kill(worker.actor)

    def _call(self, request: Describe | Measure | MeasureFusion, kind: type[T]) -> T:
        asked: Worker | None = None
        while True:
            if asked is None or asked not in self._workers:  # none yet, or it was lost
                asked = next((worker for worker in self._ask_for_workers() if worker.node), None)
                if asked is not None:
                    ask(asked, "answer", request)
            for worker in self._answered(_TICK_SECONDS):
                said = self._heard(worker, None)
                if worker is asked and said is not None:
                    self._failed_starts = 0
                    if not isinstance(said.message, kind):
                        raise WorkerError(f"the worker answered {said.message!r}, not {kind.__name__}")
                    return said.message
            if self._head is not None:
                self._head.look()

    def _ask_for_workers(self) -> list[Worker]:
        if len(self._workers) < self._wanted and self._head_answers():
            taken = {worker.index for worker in self._workers}
            left = sorted(set(range(self._count)) - taken)
            for index in left[: max(0, self._wanted - len(taken))]:
                with connection_errors():
                    actor = self._held.remote(replace(self._options, index=index))
                self._workers.append(Worker(index, actor))
                ask(self._workers[-1], "start")
        waiting = sum(not worker.node for worker in self._workers)
        if text := self._waits.news(waiting, lambda: self._waiting_text(waiting)):
            self.say(text)
        return self._workers

    def _waiting_text(self, waiting: int) -> str:
        if not self._head_answers():
            return ""
        return waiting_text(waiting, len(self._workers), self._share, nodes(), unused(self._share))

    def _head_answers(self) -> bool:
        """Whether it does now: where not, Ray would wait for it, and then end this process.

        Raises:
            WorkerError: it has not for long.
        """
        if self._head is None:
            return True
        self._head.look(at_once=True)
        return self._head.answers

    def _nodes(self) -> list[Node]:
        while not self._head_answers():
            time.sleep(_TICK_SECONDS)
        return nodes()

    def _hand_out(self) -> None:
        self._ask_for_workers()
        up = [worker for worker in self._workers if worker.node]
        while self._waiting:
            idle = next((worker for worker in up if not worker.jobs), None)
            worker = pick_busy_worker(self._waiting[0], up, self.slots, idle is not None) or idle
            if worker is None:
                break
            job = self._waiting.popleft()
            worker.jobs[job.number] = job
            worker.given.append(job)
        coming = len(self._workers) - len(up)
        self._wanted = min(self._count, max(self._wanted, len(self._workers) + len(self._waiting) - coming))

    def _let_go(self) -> None:
        """End workers that are not needed, as near the end of a search: other programs may need the room."""
        idle = [worker for worker in self._workers if not worker.jobs]
        some = any(worker.node for worker in idle) and len(idle) < len(self._workers) and not self._waiting
        if self._waits.long_idle(some) and self._head_answers():
            self._end(idle)
            self._wanted = len(self._workers)
            self._waits = WaitingWorkers(True, self._clock)

    def _answered(self, timeout: float) -> list[Worker]:
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

    def _heard(self, worker: Worker, handler: Handler | None) -> NodeReply | None:
        """What the worker says, its files in place; None when it was lost, or had nothing to do but begin.

        Raises:
            TuneError: what it raised; StorageError where the files cannot be written.
        """
        import ray
        from ray.exceptions import RayError

        answer, worker.answer = worker.answer, None
        try:
            with connection_errors():
                said: NodeReply = ray.get(answer)
        except RayError as error:
            self._lost(worker, error, handler)
            return None
        apply_news(self._layout, said.news)
        if isinstance(said.message, TuneError):
            raise said.message
        if not worker.node:
            # It may be on a node that has joined since the start.
            if wrong := version_difference(versions(), said.versions, said.node):
                self._end([worker])
                self._do_without(wrong)
            else:
                worker.node = said.node
            return None
        if worker.sent:
            worker.sent.clear()
            self._failed_starts = 0
        return said

    def _lost(self, worker: Worker, error: Exception, handler: Handler | None) -> None:
        """Replace the worker; what it was doing is told, or done again if it had not begun."""
        import ray

        self._workers.remove(worker)
        there = self._head_answers()
        if there:
            with contextlib.suppress(Exception):  # as in `_end`
                ray.kill(worker.actor)
        reason, with_node = describe_loss(worker.node, error)
        not_begun = [*worker.sent, *worker.given]
        begun = [job for job in worker.jobs.values() if job not in not_begun]
        self._waiting.extendleft(reversed(not_begun))
        for job in begun:
            assert handler is not None, "only `step` has jobs"
            apply_news(self._layout, News({job.log.name: f"\n{reason}\n".encode()}))
            last = worker.last.get(job.number)
            handler.ended(
                Failure(
                    job.number,
                    FailureKind.WORKER_DIED,
                    reason,
                    last.epoch if last else 0,
                    last.seconds if last else 0.0,
                )
            )
        if begun:
            return
        # A node that has joined since the start may lack what the others have.
        came_up = worker.node or with_node
        if there and not came_up and (wrong := differences(nodes(), _AGAIN_SECONDS)):
            self._do_without(wrong)
            return
        # One node that goes may take all workers with it.
        self._failed_starts += 1 / self._count if with_node else 1
        if self._failed_starts >= _FAILED_STARTS:
            raise WorkerError(f"{reason}, as others before it that had begun nothing")

    def _do_without(self, wrong: list[str]) -> None:
        """Ask for one worker fewer, since a node differs.

        Raises:
            WorkerError: no worker is up.
        """
        if not any(worker.node for worker in self._workers):
            refuse(wrong)
        self._count -= 1
        self._wanted = min(self._wanted, self._count)
        if not self._unlike.issuperset(wrong):
            self._unlike.update(wrong)
            self.say(f"nothing is trained where versions differ: {'; '.join(wrong)}; {install_command()}")


def _place(found: list[Node], share: Share, workers: int, notes: tuple[str, ...]) -> dict[str, Any]:
    place = f"ray, {len(found)} node{'s' * (len(found) != 1)}"
    room = share.room(found)
    if room < workers:
        note = f"there is room for {room} of {workers} workers ({share} each); the others wait for more"
        notes = (*notes, note)
    return {"place": place, "notes": notes}
