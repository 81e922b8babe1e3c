"""The command line in a process that a test can watch and kill."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Cli = Callable[..., subprocess.CompletedProcess[str]]


def command(*args: str | Path) -> list[str]:
    """The command line of `sasrecf-tune ARGS`; without --workers it trains one trial at a time.

    The default number depends on how busy the machine is, and each worker takes seconds to start. Without
    --sampler, trials are trained to their end one after another: the default search pauses and leaves some.
    """
    words = [sys.executable, "-m", "sasrecf_tune", *map(str, args)]
    decides = args[:1] in (("run",), ("resume",), ("confirm",)) and not {"--workers", "--help"} & {*args}
    if decides:
        words += ["--workers", "1"]
    if args[:1] == ("run",) and not {"--sampler", "--help"} & {*args}:
        words += ["--sampler", "random"]
    return words


class Running:
    """A run whose events are read as they come, so that it can be killed at a chosen one."""

    def __init__(self, cwd: Path, *args: str | Path) -> None:
        self.process = subprocess.Popen(
            [*command(*args), "--json"],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def until(self, event: str, **values: object) -> dict[str, Any]:
        """The next event of this kind with these values."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            found: dict[str, Any] = json.loads(line)
            if found["event"] == event and all(found.get(key) == value for key, value in values.items()):
                return found
        assert self.process.stderr is not None
        raise AssertionError(f"no event {event} {values}: {self.process.stderr.read()}")

    def children(self) -> list[int]:
        """Processes this one started that look like workers."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in listed if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]

    def finish(self) -> tuple[int, list[dict[str, Any]]]:
        out, _ = self.process.communicate(timeout=120)
        return self.process.returncode, [json.loads(line) for line in out.splitlines()]


def assert_gone(pid: int) -> None:
    """Wait, at most 30 seconds, for a process that is not our child to be gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ready, _, _ = select.select([handle], [], [], 30)
    os.close(handle)
    assert ready, f"process {pid} was left behind"
