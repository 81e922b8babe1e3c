"""A worker on a node of a cluster: a LocalExecutor with one worker, whose files are sent to the coordinator.

It does not depend on Ray.
"""

from __future__ import annotations

import contextlib
import queue
import shutil
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sasrecf_tune.errors import StorageError, TuneError, WorkerError
from sasrecf_tune.executors.base import answer
from sasrecf_tune.executors.local import LocalExecutor
from sasrecf_tune.executors.ray.file_sync import FileChanges, FileSync
from sasrecf_tune.executors.ray.run_directory import run_directory
from sasrecf_tune.executors.ray.shipped_dataset import Fetch, ShippedDataset, unpack_dataset
from sasrecf_tune.inputs.option_values import MOST_FUSED
from sasrecf_tune.messages import (
    DataRequest,
    DataSummary,
    Decision,
    Failure,
    FailureKind,
    FusionTiming,
    Job,
    Report,
    Result,
    Timing,
)
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.files import make_directory
from sasrecf_tune.storage.per_user_files import PARTS, per_user_file

# A call without a message returns after this time with the changes of files, so that the coordinator's copies
# of logs and checkpoints are never further behind.
REPLY_SECONDS = 5.0
# Longest wait for the worker's process: it bounds the delay until a hang is noticed.
_TICK_SECONDS = 1.0


@dataclass(frozen=True)
class NodeOptions:
    """The options that a worker is started with; those not listed are as in `LocalExecutor`.

    Attributes:
        run: A name that no other run has.
        index: The worker's number in the run.
        study_dir: The study directory on the coordinator's machine.
        share: Whether other workers of the run may be on the node.
        concurrent: Whether the worker may get several jobs at a time.
        data: The data set; None if the node has it.
    """

    run: str
    index: int
    study_dir: StudyDirectory
    threads: int
    hang_timeout: float | None
    runner: str
    share: bool
    concurrent: bool = False
    data: ShippedDataset | None = None


@dataclass(frozen=True)
class NodeReply:
    """The reply to a call.

    Attributes:
        message: None if there is none yet.
        changes: What was written since the last reply.
        node: In the reply to `start`, the worker's node.
        versions: In the reply to `start`, the versions installed there.
    """

    message: Report | Result | Failure | DataSummary | Timing | FusionTiming | TuneError | None = None
    changes: FileChanges = field(default_factory=FileChanges)
    node: str = ""
    versions: Mapping[str, str | None] = field(default_factory=dict)


class NodeWorker:
    """Executes the coordinator's calls one at a time; only `stop` may be called during another one.

    `train` starts jobs. Then each `listen` returns the next message. After a report there is no further
    message until `decide` answers it.

    Args:
        options: See `NodeOptions`.
        node: A name of this machine that can be part of a file name.
        gpus: The GPUs that this worker may use; none for the CPU.
        fetch: Returns a piece of a data set's file.
    """

    def __init__(self, options: NodeOptions, node: str, gpus: Sequence[str], fetch: Fetch) -> None:
        self._options = options
        self._node = node
        self._gpus = tuple(gpus) or ("",)
        self._fetch = fetch
        self._resources = contextlib.ExitStack()
        self._messages: queue.SimpleQueue[Report | Result | Failure | TuneError] = queue.SimpleQueue()
        self._decisions: queue.SimpleQueue[Decision] = queue.SimpleQueue()
        self._jobs: dict[int, Job] = {}  # whose outcome was not returned yet
        self._new_jobs: queue.SimpleQueue[list[Job]] = queue.SimpleQueue()
        self._submitted = 0

    def start(self) -> NodeReply:
        """Create the worker's directory and unpack the data."""
        options = self._options
        try:
            directory = self._resources.enter_context(run_directory(f"{options.run}-{self._node}"))
            worker_dir = directory / f"worker-{options.index}"
            # The coordinator has received the files of an earlier worker with this number, or has newer ones.
            shutil.rmtree(worker_dir, ignore_errors=True)
            self._study_dir = StudyDirectory(worker_dir / options.study_dir.name)
            self._data = directory / "data"
            make_directory(self._study_dir.directory)
            if options.data is not None:
                unpack_dataset(options.data, self._data, self._fetch)
            prepared = directory / "prepared"
            if options.share:
                make_directory(prepared)
        except TuneError as error:
            return NodeReply(self._translate(error))
        self._file_sync = FileSync(self._study_dir)
        self._executor = LocalExecutor(
            self._study_dir,
            gpus=self._gpus,
            hang_timeout=options.hang_timeout,
            runner=options.runner,
            shared=prepared if options.share else None,
            threads=options.threads,
            slots=MOST_FUSED if options.concurrent else 1,  # the coordinator limits the number
        )
        threading.Thread(target=self._train_jobs, daemon=True).start()
        return NodeReply(node=self._node)

    def answer(self, request: DataRequest) -> NodeReply:
        """Answer a request; only while there are no jobs."""
        request = replace(request, config=request.config | self._local_config())
        reply: DataSummary | Timing | FusionTiming | TuneError
        try:
            reply = answer(self._executor, request)
        except TuneError as error:
            reply = self._translate(error)
        return NodeReply(reply, self._collect_changes())

    def train(self, jobs: Sequence[tuple[Job, bytes | None]]) -> NodeReply:
        """Start jobs, each with the content of its resume file, and return without waiting for messages."""
        checkpoints = self._study_dir.checkpoints
        local_jobs = [
            replace(
                job,
                log=self._study_dir.logs / job.log.name,
                checkpoint=checkpoints / job.checkpoint.name,
                resume_file=job.resume_file and checkpoints / job.resume_file.name,
                local_config=self._local_config(),
                per_user=job.per_user and self._study_dir.per_user_directory / job.per_user.name,
            )
            for job, _ in jobs
        ]
        try:
            for job, (_, content) in zip(local_jobs, jobs, strict=True):
                if content is not None and job.resume_file is not None:
                    make_directory(checkpoints)
                    with contextlib.suppress(OSError):  # without it the trial starts from the beginning
                        self._file_sync.receive(job.resume_file, content)
        except TuneError as error:
            return NodeReply(self._translate(error))
        self._jobs |= {job.number: job for job in local_jobs}
        self._new_jobs.put(local_jobs)  # all at once: they must start together
        return NodeReply()

    def decide(self, decision: Decision) -> NodeReply:
        """Answer the last report and return the next message."""
        self._decisions.put(decision)
        return self.listen()

    def listen(self) -> NodeReply:
        """Return the next message of the jobs, or None after `REPLY_SECONDS`, and the changes of files."""
        try:
            message = self._messages.get(timeout=REPLY_SECONDS)
        except queue.Empty:
            return NodeReply(None, self._collect_changes())
        changes = self._collect_changes()
        if isinstance(message, Result | Failure):
            job = self._jobs.pop(message.number)
            paths = [job.log, job.checkpoint, job.resume_file]
            if job.per_user is not None:
                paths += [per_user_file(job.per_user, part) for part in PARTS]
            self._file_sync.delete(path for path in paths if path is not None)
            if isinstance(message, Failure) and message.kind in (
                FailureKind.FUSED,
                FailureKind.WORKER_DIED,
                FailureKind.WORKER_HUNG,
                FailureKind.DISK,
            ):
                message = replace(message, reason=f"{message.reason} (on node {self._node})")
        return NodeReply(message, changes)

    def stop(self) -> None:
        """Stop all work immediately and delete all files."""
        if hasattr(self, "_executor"):
            self._executor.close()
        self._resources.close()

    def on_report(self, report: Report) -> Decision:
        """Queue a report and wait for its decision; called by the executor."""
        self._messages.put(report)
        return self._decisions.get()

    def on_outcome(self, outcome: Result | Failure) -> None:
        """Queue an outcome; called by the executor."""
        self._submitted -= 1
        self._messages.put(outcome)

    def _train_jobs(self) -> None:
        waiting: deque[Job] = deque()
        try:
            while True:
                while not (waiting or self._submitted) or not self._new_jobs.empty():
                    waiting.extend(self._new_jobs.get())
                # After some failures none is free until the other jobs have ended.
                while waiting and self._executor.free:
                    self._submitted += 1
                    self._executor.submit(waiting.popleft())
                self._executor.step(self, _TICK_SECONDS)
        except TuneError as error:
            self._messages.put(self._translate(error))
        except Exception as error:  # noqa: BLE001  # reported to the coordinator
            self._messages.put(self._translate(WorkerError(f"{type(error).__name__}: {error}")))

    def _local_config(self) -> dict[str, Any]:
        config = {"checkpoint_dir": str(self._study_dir.checkpoints)}
        return config if self._options.data is None else config | {"data_path": str(self._data)}

    def _collect_changes(self) -> FileChanges:
        changes = self._file_sync.collect()
        ours = self._study_dir.worker_log(0).name
        theirs = self._options.study_dir.worker_log(self._options.index).name
        logs = {theirs if name == ours else name: text for name, text in changes.logs.items()}
        return replace(changes, logs=logs)

    def _translate(self, error: TuneError) -> TuneError:
        """Replace paths on this node by those of the coordinator, and name the node where that matters."""
        options = self._options
        paths = []
        if hasattr(self, "_study_dir"):
            paths = [(self._study_dir.worker_log(0), options.study_dir.worker_log(options.index))]
            paths += [(self._study_dir.directory, options.study_dir.directory)]
        if options.data is not None and hasattr(self, "_data"):
            paths.append((self._data / options.data.name, options.data.directory))
        for name in ("what", "where", "fix"):
            text = getattr(error, name)
            for ours, theirs in paths:
                text = text.replace(str(ours), str(theirs))
            setattr(error, name, text)
        if isinstance(error, WorkerError | StorageError):
            error.what += f" (on node {self._node})"
        return error
