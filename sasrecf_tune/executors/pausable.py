"""Threads of one process that take turns: only one of them runs at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Generic, TypeVar

T = TypeVar("T")

_local = threading.local()


class PausableThread(Generic[T]):
    """Runs a function in a thread that makes progress only inside `advance`.

    Args:
        work: The function. It calls `pause` where it can be interrupted.
        turn: Returns a context manager that is entered for each turn.

    Attributes:
        finished: Whether `work` has returned or raised.
        result: What `work` returned.
    """

    result: T

    def __init__(
        self, work: Callable[[], T], turn: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self.finished = False
        self._work, self._turn = work, turn
        self._resume, self._paused = threading.Semaphore(0), threading.Semaphore(0)
        self._request: object = None
        self._answer: object = None
        self._error: BaseException | None = None
        # A daemon: the process does not wait for work that is never advanced again.
        self._thread = threading.Thread(target=self._run, daemon=True)

    def advance(self, answer: object = None) -> object:
        """Let the thread run until it pauses or finishes.

        Args:
            answer: What the current `pause` returns.

        Returns:
            What the next `pause` was given; None when the work is finished.

        Raises:
            BaseException: Whatever the work raised.
        """
        with self._turn():
            self._request, self._answer = None, answer
            if self._thread.ident is None:
                self._thread.start()
            self._resume.release()
            self._paused.acquire()
        if self._error is not None:
            raise self._error
        return self._request

    def pause(self, request: object) -> object:
        """Called by the work: end this turn, and return the answer that the next `advance` brings."""
        self._request = request
        self._paused.release()
        self._resume.acquire()
        return self._answer

    def _run(self) -> None:
        self._resume.acquire()
        _local.thread = self
        try:
            self.result = self._work()
        except BaseException as error:  # noqa: BLE001  # raised again by `advance`
            self._error = error
        self.finished = True
        self._paused.release()


def current_thread() -> PausableThread[object] | None:
    """Return the `PausableThread` that the caller runs in."""
    thread: PausableThread[object] | None = getattr(_local, "thread", None)
    return thread
