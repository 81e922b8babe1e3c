"""A worker on another machine: a LocalExecutor of one, given the data it needs; its files are sent home.

Knows nothing of what carries it there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import shutil
import stat
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from sasrecf_tune.errors import DataError, StorageError, TuneError, WorkerError
from sasrecf_tune.executors.local import LocalExecutor
from sasrecf_tune.executors.ray.file_sync import FileSync, News
from sasrecf_tune.inputs.dataset_files import DatasetFiles
from sasrecf_tune.inputs.settings import MOST_FUSED
from sasrecf_tune.messages import (
    DataSummary,
    Decision,
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
from sasrecf_tune.storage.files import disk_error, make_directory

# So long a call waits for the worker to say something before it brings home what there is: logs and
# checkpoints are never further behind than that.
LOOK_SECONDS = 5.0
# How long one wait for the worker's process may last: it bounds how late a hang is noticed.
_TICK_SECONDS = 1.0
# Bytes of a file that are in memory at a time.
_PIECE = 32 << 20

Fetch = Callable[[Any], bytes]  # what a reference to a piece of a file stands for


@dataclass(frozen=True)
class ShippedDataset:
    """The files of a data set, by name, in pieces; `directory` is where they lie at home."""

    name: str
    directory: Path
    files: Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class NodeOptions:
    """What a worker is started with.

    `run` is a name that no other run has, `home` the study directory; `data` is None where the node has it.
    `share`: others of this run may be on the node. `together`: it may be given several jobs at a time. The
    rest is as in `LocalExecutor`.
    """

    run: str
    index: int
    home: StudyDirectory
    threads: int
    hang_timeout: float | None
    runner: str
    share: bool
    together: bool = False
    data: ShippedDataset | None = None


@dataclass(frozen=True)
class NodeReply:
    """What a worker answers: a message, None for "nothing yet", and what has been written since.

    `node` is where it is and `versions` what it has there, said when it has started.
    """

    message: Report | Result | Failure | DataSummary | Timing | FusionTiming | TuneError | None = None
    news: News = field(default_factory=News)
    node: str = ""
    versions: Mapping[str, str | None] = field(default_factory=dict)


class NodeWorker:
    """Answers the coordinator, one call after the other; `stop` alone may come at any time.

    Jobs are begun by `train`; then each `listen` brings the next message, or none. A report is answered by
    `decide`, which brings the next message too: until then no other comes. `node` is a name of this machine
    that can be a file's, `cards` are those that this worker may use, none for the CPU.
    """

    def __init__(self, options: NodeOptions, node: str, cards: Sequence[str], fetch: Fetch) -> None:
        self._options = options
        self._node = node
        self._cards = tuple(cards) or ("",)
        self._fetch = fetch
        self._ours = contextlib.ExitStack()
        self._messages: queue.SimpleQueue[Report | Result | Failure | TuneError] = queue.SimpleQueue()
        self._decisions: queue.SimpleQueue[Decision] = queue.SimpleQueue()
        self._jobs: dict[int, Job] = {}  # that have not ended, as far as has been said
        self._arrived: queue.SimpleQueue[list[Job]] = queue.SimpleQueue()
        self._under_way = 0

    def start(self) -> NodeReply:
        """Have a directory, and the data in it."""
        options = self._options
        try:
            directory = self._ours.enter_context(run_directory(f"{options.run}-{self._node}"))
            own = directory / f"worker-{options.index}"
            # What an earlier actor of this number left has been sent, or is older than what lies at home.
            shutil.rmtree(own, ignore_errors=True)
            self._layout = StudyDirectory(own / options.home.name)
            self._data = directory / "data"
            make_directory(self._layout.directory)
            if options.data is not None:
                unpack(options.data, self._data, self._fetch)
            prepared = directory / "prepared"
            if options.share:
                make_directory(prepared)
        except TuneError as error:
            return NodeReply(self._named(error))
        self._mirror = FileSync(self._layout)
        self._executor = LocalExecutor(
            self._layout,
            gpus=self._cards,
            hang_timeout=options.hang_timeout,
            runner=options.runner,
            shared=prepared if options.share else None,
            threads=options.threads,
            # The coordinator says how many.
            slots=MOST_FUSED if options.together else 1,
        )
        threading.Thread(target=self._work, daemon=True).start()
        return NodeReply(node=self._node)

    def answer(self, request: Describe | Measure | MeasureFusion) -> NodeReply:
        """What the data set holds, or how long steps take; while there are no jobs."""
        config = request.config | self._here()
        answer: DataSummary | Timing | FusionTiming | TuneError
        try:
            match request:
                case Describe():
                    answer = self._executor.describe(replace(request, config=config))
                case Measure():
                    answer = self._executor.measure(replace(request, config=config))
                case MeasureFusion():
                    answer = self._executor.measure_fusion(replace(request, config=config))
        except TuneError as error:
            answer = self._named(error)
        return NodeReply(answer, self._news())

    def train(self, jobs: Sequence[tuple[Job, bytes | None]]) -> NodeReply:
        """Begin jobs, each from what it is continued from; answers at once that they have begun."""
        study_dir = self._layout
        here = [
            replace(
                job,
                log=study_dir.logs / job.log.name,
                checkpoint=study_dir.checkpoints / job.checkpoint.name,
                unfinished=job.unfinished and study_dir.checkpoints / job.unfinished.name,
                here=self._here(),
            )
            for job, _ in jobs
        ]
        try:
            for job, (_, unfinished) in zip(here, jobs, strict=True):
                if unfinished is not None and job.unfinished is not None:
                    make_directory(study_dir.checkpoints)
                    with contextlib.suppress(OSError):  # then it begins anew
                        job.unfinished.write_bytes(unfinished)
        except TuneError as error:
            return NodeReply(self._named(error))
        self._jobs |= {job.number: job for job in here}
        self._arrived.put(here)  # at once: they are to begin together
        return NodeReply()

    def decide(self, decision: Decision) -> NodeReply:
        """Answer the last report, and listen."""
        self._decisions.put(decision)
        return self.listen()

    def listen(self) -> NodeReply:
        """The next message of the jobs, or none when it takes long; and the files."""
        try:
            message = self._messages.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            return NodeReply(None, self._news())
        news = self._news()
        if isinstance(message, Result | Failure):
            job = self._jobs.pop(message.number)
            paths = [job.log, job.checkpoint, job.unfinished]
            self._mirror.drop(path for path in paths if path is not None)
            if isinstance(message, Failure) and message.kind in (
                FailureKind.WORKER_DIED,
                FailureKind.WORKER_HUNG,
                FailureKind.DISK,
            ):
                message = replace(message, reason=f"{message.reason} (on node {self._node})")
        return NodeReply(message, news)

    def stop(self) -> None:
        """End all work at once and leave nothing behind."""
        if hasattr(self, "_executor"):
            self._executor.close()
        self._ours.close()

    def reported(self, report: Report) -> Decision:
        """See `executors.base.Handler`."""
        self._messages.put(report)
        return self._decisions.get()

    def ended(self, outcome: Result | Failure) -> None:
        """See `executors.base.Handler`."""
        self._under_way -= 1
        self._messages.put(outcome)

    def _work(self) -> None:
        waiting: deque[Job] = deque()
        try:
            while True:
                while not (waiting or self._under_way) or not self._arrived.empty():
                    waiting.extend(self._arrived.get())
                # After a failure it takes none until the others have ended.
                while waiting and self._executor.free:
                    self._under_way += 1
                    self._executor.submit(waiting.popleft())
                self._executor.step(self, _TICK_SECONDS)
        except TuneError as error:
            self._messages.put(self._named(error))
        except Exception as error:  # noqa: BLE001  # the coordinator must hear of it
            self._messages.put(self._named(WorkerError(f"{type(error).__name__}: {error}")))

    def _here(self) -> dict[str, Any]:
        places = {"checkpoint_dir": str(self._layout.checkpoints)}
        return places if self._options.data is None else places | {"data_path": str(self._data)}

    def _news(self) -> News:
        news = self._mirror.news()
        ours, home = self._layout.worker_log(0).name, self._options.home.worker_log(self._options.index).name
        return replace(news, logs={home if name == ours else name: text for name, text in news.logs.items()})

    def _named(self, error: TuneError) -> TuneError:
        """With the places at home in place of those on this node; which node it is where that matters."""
        home = self._options.home
        places = []
        if hasattr(self, "_layout"):
            places = [(self._layout.worker_log(0), home.worker_log(self._options.index))]
            places += [(self._layout.directory, home.directory)]
        if self._options.data is not None and hasattr(self, "_data"):
            places.append((self._data / self._options.data.name, self._options.data.directory))
        for name in ("what", "where", "fix"):
            text = getattr(error, name)
            for here, there in places:
                text = text.replace(str(here), str(there))
            setattr(error, name, text)
        if isinstance(error, WorkerError | StorageError):
            error.what += f" (on node {self._node})"
        return error


@contextlib.contextmanager
def run_directory(name: str) -> Iterator[Path]:
    """A directory for the workers of a run on this machine, gone when the last of them leaves the block.

    What a run left here whose workers were all killed is removed, too.

    Raises:
        StorageError: it cannot be made, or someone else can write there.
    """
    parent = Path(tempfile.gettempdir()) / f"sasrecf-tune-{os.getuid()}"
    try:
        parent.mkdir(mode=0o700, exist_ok=True)
        found = parent.lstat()
    except OSError as error:
        raise disk_error(parent, error) from error
    # Prepared data lies there, which is read as a pickle.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StorageError(
            "others can write there, or it is no directory", where=str(parent), fix="Move it away."
        )
    for lock in parent.glob("*.lock"):
        _sweep(lock)
    directory, lock = parent / name, parent / f"{name}.lock"
    try:
        held = _hold(lock)
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise disk_error(directory, error) from error
    try:
        yield directory
    finally:
        os.close(held)
        _sweep(lock)


def _hold(lock: Path) -> int:
    """Share the lock, which the system lets go of however the process ends."""
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(handle, fcntl.LOCK_SH)
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(handle).st_ino == lock.stat().st_ino:
                return handle
        os.close(handle)  # of a file that was swept away in between


def _sweep(lock: Path) -> None:
    """Remove the lock and its directory, unless somebody is there."""
    with contextlib.suppress(OSError):
        handle = os.open(lock, os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink()
        finally:
            os.close(handle)


def ship(data: DatasetFiles, put: Callable[[bytes], Any]) -> ShippedDataset:
    """All files of a data set, in pieces that `put` gives a reference for.

    Raises:
        DataError: one cannot be read.
    """
    files: dict[str, list[Any]] = {}
    for path in data.files():
        try:
            with path.open("rb") as file:
                files[path.name] = [put(piece) for piece in iter(partial(file.read, _PIECE), b"")]
        except OSError as error:
            raise DataError(f"cannot read: {error.strerror or error}", where=str(path)) from error
    return ShippedDataset(data.name, data.path, files)


def unpack(data: ShippedDataset, directory: Path, fetch: Fetch) -> None:
    """Write the files of `data` to `directory`/NAME, unless another worker on this machine has done so.

    Raises:
        StorageError: the disk refused.
    """
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        done = directory / "done"
        with (directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if done.exists():
                return
            (directory / data.name).mkdir(exist_ok=True)
            for name, pieces in data.files.items():
                with (directory / data.name / name).open("wb") as file:
                    for piece in pieces:
                        file.write(fetch(piece))
            done.touch()
    except OSError as error:
        raise disk_error(directory, error) from error
