"""What a worker does that trains several jobs at a time: it lets them take turns, an epoch each."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

from sasrecf_tune.errors import StorageError
from sasrecf_tune.executors.pausable import PausableThread
from sasrecf_tune.messages import Decision, Failure, FailureKind, Job, Report, Result


class FusedRunner(Protocol):
    """A worker's `Runner` whose trials pause before each epoch, in the lane that `lanes.current` gives."""

    def train(self, job: Job, on_report: Callable[[Report], Decision], /) -> Result | Failure:
        """Train the job; `on_report` decides after each validation."""

    def train_epochs(self, paused: Sequence[object], /) -> Sequence[object]:
        """What trials that paused with these go on with."""


@dataclass
class _Running:
    job: Job
    lane: PausableThread[Result | Failure]
    said: object = None  # what it paused with


class WorkerSlots:
    """The jobs of one worker, as many as the coordinator sends.

    `route` sends output to a file, which raises StorageError; between turns it goes to `own_log`.
    """

    def __init__(
        self, pipe: Connection, runner: FusedRunner, route: Callable[[Path], None], own_log: Path
    ) -> None:
        self._pipe, self._runner, self._route, self._own_log = pipe, runner, route, own_log
        self._requests: deque[object] = deque()
        self._running: list[_Running] = []

    def next_request(self) -> object:
        """Train what has been sent, and return the first request that is no job.

        Raises:
            EOFError: the coordinator is gone.
        """
        while True:
            # All that has come, before the next epoch: what trains together is to begin together.
            while self._requests or self._pipe.poll(None if not self._running else 0):
                request = self._requests.popleft() if self._requests else self._pipe.recv()
                if not isinstance(request, Job):
                    return request
                self._begin(request)
            self._train_epochs()

    def _begin(self, job: Job) -> None:
        running = _Running(
            job, PausableThread(lambda: self._runner.train(job, self._ask), lambda: self._logged(job))
        )
        self._running.append(running)
        self._advance(running, None)

    def _train_epochs(self) -> None:
        answers = self._runner.train_epochs([running.said for running in self._running])
        for running, answer in zip(list(self._running), answers, strict=True):
            self._advance(running, answer)

    def _advance(self, running: _Running, answer: object) -> None:
        outcome: Result | Failure | None = None
        try:
            running.said = running.lane.advance(answer)
            if running.lane.over:
                outcome = running.lane.result
        except StorageError as error:
            outcome = Failure(running.job.number, FailureKind.DISK, error.message)
        if outcome is not None:
            self._running.remove(running)
            self._pipe.send(outcome)

    def _ask(self, report: Report) -> Decision:
        self._pipe.send(report)
        while True:
            answer = self._pipe.recv()
            if isinstance(answer, Decision):
                return answer
            self._requests.append(answer)

    @contextlib.contextmanager
    def _logged(self, job: Job) -> Iterator[None]:
        self._route(job.log)
        try:
            yield
        finally:
            with contextlib.suppress(StorageError):  # what was trained counts, and the next turn will say so
                self._route(self._own_log)
