"""Pieces of work in one process that take turns: each in a thread of its own, one running at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Generic, TypeVar

T = TypeVar("T")

_here = threading.local()


class PausableThread(Generic[T]):
    """Runs `work` in a thread, but only while `advance` waits for it; each turn is inside of `around()`.

    `result` is what it returned, once it is `over`.
    """

    result: T

    def __init__(
        self, work: Callable[[], T], around: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self.over = False
        self._work, self._around = work, around
        self._go, self._paused = threading.Semaphore(0), threading.Semaphore(0)
        self._said: object = None
        self._answer: object = None
        self._error: BaseException | None = None
        # The process need not wait for work that nobody advances any more.
        self._thread = threading.Thread(target=self._run, daemon=True)

    def advance(self, answer: object = None) -> object:
        """Let it run until it ends or pauses; returns what `pause` was given, which returns `answer`.

        Raises:
            BaseException: whatever the work raised.
        """
        with self._around():
            self._said, self._answer = None, answer
            if self._thread.ident is None:
                self._thread.start()
            self._go.release()
            self._paused.acquire()
        if self._error is not None:
            raise self._error
        return self._said

    def pause(self, said: object) -> object:
        """Called by the work: the others' turn. Returns the answer that the next `advance` brings."""
        self._said = said
        self._paused.release()
        self._go.acquire()
        return self._answer

    def _run(self) -> None:
        self._go.acquire()
        _here.lane = self
        try:
            self.result = self._work()
        except BaseException as error:  # noqa: BLE001  # raised where `advance` waits
            self._error = error
        self.over = True
        self._paused.release()


def current() -> PausableThread[object] | None:
    """The lane that this runs in."""
    found: PausableThread[object] | None = getattr(_here, "lane", None)
    return found
