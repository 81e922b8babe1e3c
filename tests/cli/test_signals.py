"""Signals that end a run."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from typing import Any, cast

import pytest
from rich.console import Console

from sasrecf_tune.__main__ import main as start
from sasrecf_tune.cli.signals import end_signals, interrupted_by_signals, stopping_on_signals
from tests.support.paths import ROOT


@pytest.fixture(autouse=True)
def heeded() -> Iterator[None]:
    """What is started by nohup ignores SIGHUP, and so would its own processes."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


class Search:
    """Records why it was stopped."""

    stopping = False

    def stop(self, reason: str, grace: float | None = None) -> None:
        self.stopping, self.reason, self.grace = True, reason, grace


@pytest.mark.parametrize(
    ("number", "reason", "grace"),
    [
        (signal.SIGINT, "stopped by Ctrl-C", None),
        (signal.SIGTERM, "stopped by SIGTERM", 25.0),
        (signal.SIGHUP, "stopped by SIGHUP", 25.0),
    ],
)
def test_the_first_signal_stops_the_search_and_the_second_ends_it(
    number: signal.Signals, reason: str, grace: float | None
) -> None:
    search = Search()
    before = signal.getsignal(number)
    with stopping_on_signals(cast(Any, search), 25.0, Console(file=io.StringIO()), quiet=False):
        signal.raise_signal(number)
        assert (search.stopping, search.reason, search.grace) == (True, reason, grace)
        signal.raise_signal(signal.SIGHUP)  # follows SIGTERM at the end of a login session
        assert search.grace == 25.0
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM if number == signal.SIGHUP else number)
    assert signal.getsignal(number) == before and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_ctrl_c_while_the_command_line_is_imported_has_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "sasrecf_tune.cli.app", cast(Any, Interrupted()))
    with pytest.raises(SystemExit) as ended:
        start()
    assert ended.value.code == 130
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"sasrecf-tune": f"{start.__module__}:{start.__name__}"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_before_the_search_they_interrupt(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), interrupted_by_signals():
        signal.raise_signal(number)


def test_further_hangups_do_not_interrupt_the_end_of_a_run() -> None:
    with pytest.raises(KeyboardInterrupt), interrupted_by_signals():
        try:
            signal.raise_signal(signal.SIGHUP)
        finally:
            signal.raise_signal(signal.SIGHUP)
            ended = True
    assert ended


def test_a_run_under_nohup_goes_on() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert end_signals() == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before)


PROGRAM = """
import signal, sys
from sasrecf_tune.cli.signals import interrupted_by_signals
try:
    with interrupted_by_signals():
        print("ready", flush=True)
        signal.pause()
except KeyboardInterrupt:
    for _ in range(3):
        print("after the end", flush=True)
        print("and an error", file=sys.stderr, flush=True)
    sys.exit(130)
"""


def test_printing_does_not_fail_when_the_terminal_has_closed() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    try:
        assert os.read(ours, 100).strip() == b"ready"
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=60) == 130
    finally:
        process.kill()
        process.wait()
