"""What differs on macOS and Windows, as far as it can be tested on Linux."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from sasrecf_tune.cli import session
from sasrecf_tune.errors import InputError
from sasrecf_tune.machine import peak_memory
from sasrecf_tune.storage.database import heartbeats


def test_windows_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(InputError, match="WSL 2"):
        session.check_system()


def test_peak_memory_is_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = peak_memory()
    # The system adds to its number with a small delay.
    assert now > 0.9 * psutil.Process().memory_info().rss > 1 << 20
    # The number of the system is in KiB on Linux, and in bytes on macOS.
    monkeypatch.setattr(sys, "platform", "darwin")
    assert now <= 1024 * peak_memory() <= 2 * now


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_a_process_that_has_exited_is_known_as_dead(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    here = heartbeats.this_process()
    assert here.place and here.begun and here.pid == os.getpid() and not here.has_exited
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        other = heartbeats.Peer("other", here.place, child.pid, heartbeats._start_time(child.pid))
        assert other.begun and not other.has_exited
        child.communicate(b"\n")
    assert other.has_exited
