"""A worker that trains several jobs at a time: they take turns, one epoch each."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from sasrecf_tune.errors import StorageError
from sasrecf_tune.executors.base import Runner
from sasrecf_tune.executors.pausable import PausableThread
from sasrecf_tune.messages import Decision, Failure, FailureKind, Job, Report, Result


@dataclass
class _RunningJob:
    job: Job
    thread: PausableThread[Result | Failure]
    request: object = None  # what the thread paused with


class WorkerSlots:
    """Trains as many jobs as the coordinator sends.

    `redirect` sends standard output to a file; between two turns this is `worker_log`.
    """

    def __init__(
        self, pipe: Connection, runner: Runner, redirect: Callable[[Path], None], worker_log: Path
    ) -> None:
        self._pipe, self._runner, self._redirect, self._worker_log = pipe, runner, redirect, worker_log
        self._requests: deque[object] = deque()
        self._running: list[_RunningJob] = []

    def next_request(self) -> object:
        """Train the jobs that are received, and return the first request that is not a job.

        Raises:
            EOFError: The coordinator has closed the pipe.
        """
        while True:
            # Receive everything before the next epoch: jobs that train together must start together.
            while self._requests or self._pipe.poll(None if not self._running else 0):
                request = self._requests.popleft() if self._requests else self._pipe.recv()
                if not isinstance(request, Job):
                    return request
                self._start(request)
            self._train_epochs()

    def _start(self, job: Job) -> None:
        thread = PausableThread(
            lambda: self._runner.train(job, self._send_report), lambda: self._output_in_log_of(job)
        )
        self._running.append(_RunningJob(job, thread))
        self._advance(self._running[-1], None)

    def _train_epochs(self) -> None:
        answers = self._runner.train_epochs([running.request for running in self._running])
        for running, answer in zip(list(self._running), answers, strict=True):
            self._advance(running, answer)

    def _advance(self, running: _RunningJob, answer: object) -> None:
        outcome: Result | Failure | None = None
        running.request = None  # it holds the trial's tensors, whose memory an error in this turn returns
        try:
            running.request = running.thread.advance(answer)
            if running.thread.finished:
                outcome = running.thread.result
        except StorageError as error:
            outcome = Failure(running.job.number, FailureKind.DISK, error.message)
        if outcome is not None:
            self._running.remove(running)
            self._pipe.send(outcome)

    def _send_report(self, report: Report) -> Decision:
        self._pipe.send(report)
        while True:
            answer = self._pipe.recv()
            if isinstance(answer, Decision):
                return answer
            self._requests.append(answer)

    @contextlib.contextmanager
    def _output_in_log_of(self, job: Job) -> Iterator[None]:
        self._redirect(job.log)
        try:
            yield
        finally:
            with contextlib.suppress(StorageError):  # the epoch counts; the next turn reports the error
                self._redirect(self._worker_log)
