"""What Ctrl-C, SIGTERM from a scheduler and SIGHUP from a terminal that closes do."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.console import Console

from sasrecf_tune.inputs.durations import format_duration
from sasrecf_tune.report.terminal.closed_output import discard_output

if TYPE_CHECKING:
    from sasrecf_tune.search.coordinator import Coordinator

_Handler = Callable[[int, FrameType | None], Any] | int | None


def end_signals() -> list[signal.Signals]:
    """Return the signals by which another program ends this one; without SIGHUP under nohup."""
    hang_up = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else []
    return [signal.SIGTERM, *hang_up]


@contextlib.contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt for them, as for Ctrl-C; for SIGHUP once, since it may come several times."""
    terminals = _terminals()
    hung_up = False

    def interrupt(number: int, _: FrameType | None) -> None:
        nonlocal hung_up
        if number == signal.SIGHUP:
            if hung_up:
                return
            hung_up = True
            discard_output(*terminals)  # they have closed, and writing would fail
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in end_signals()}
    try:
        yield
    finally:
        _restore(before)


@contextlib.contextmanager
def stopping_on_signals(search: Coordinator, grace: float, console: Console, quiet: bool) -> Iterator[None]:
    """Stop the search after the running epochs at the first Ctrl-C, SIGTERM or SIGHUP, at once at the second.

    SIGHUP is no second signal: it follows SIGTERM at the end of a login session, and may come several times.
    In a thread other than the main one, signals stay as they are.

    Args:
        grace: Seconds that the epochs have after SIGTERM, since a scheduler sends SIGKILL soon after it. A
            database that hangs is not waited for either.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    terminals = _terminals()

    def stop(number: int, _: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, 1.0, 1.0)
        if number == signal.SIGHUP:
            discard_output(*terminals)  # they have closed, and writing would fail
        elif search.stopping:
            raise KeyboardInterrupt
        if number != signal.SIGINT:
            search.stop(f"stopped by {signal.Signals(number).name}", grace)
            limit = f" (at most {format_duration(grace)})"
        else:
            search.stop("stopped by Ctrl-C")
            limit = ""
        if not quiet:
            console.print(
                f"stopping after the running epochs{limit}; a second signal stops at once", style="yellow"
            )

    def check(_: int, __: FrameType | None) -> None:
        if search.hangs():
            raise KeyboardInterrupt

    handlers = {signal.SIGINT: stop, signal.SIGALRM: check} | dict.fromkeys(end_signals(), stop)
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        _restore(before)


def _restore(handlers: Mapping[signal.Signals, _Handler]) -> None:
    for number, handler in handlers.items():
        # None: a handler that was not installed from Python, which cannot be restored.
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _terminals() -> list[int]:
    """Return which of standard output and error are a terminal, which cannot be asked once it has closed."""
    return [number for number in (1, 2) if os.isatty(number)]
