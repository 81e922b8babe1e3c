"""A search process that can be killed, its workers, and its orphans (reads Linux's /proc)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from sasrecf_tune.errors import WorkerError

# A run that takes longer hangs.
_LIMIT_SECONDS = 300.0
# Time for the workers to notice that their coordinator has ended.
PATIENCE_SECONDS = 10.0
_POLL_SECONDS = 0.002
# Killed from outside, or from inside by killed_program.py.
_KILLED = (-signal.SIGKILL, -signal.SIGALRM)


class KillableRun:
    """One search in a session of its own; `events` are the events it has printed so far.

    A context manager: at the end of the block, none of its processes is alive. Its output goes to files
    below `scratch`: a full pipe would block it.
    """

    def __init__(
        self, command: Sequence[str], scratch: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._errors = scratch / "stderr"
        output = scratch / "stdout"
        self.events: list[dict[str, Any]] = []
        self.launched = time.monotonic()
        self.ready: float | None = None  # seconds from the launch to the first trial's start
        with output.open("w") as out, self._errors.open("w") as err:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                # The same order of summation with every executor.
                env=os.environ | {"OMP_NUM_THREADS": "1"} | dict(environment or {}),
            )
        self._output = output.open()
        self._rest = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self.kill_orphans()
        self._output.close()

    @property
    def seconds(self) -> float:
        """Seconds since the launch."""
        return time.monotonic() - self.launched

    @property
    def code(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.returncode

    @property
    def killed(self) -> bool:
        """Whether it was killed."""
        return self._process.returncode in _KILLED

    def wait(self, done: Callable[[], object] = lambda: False) -> bool:
        """Read events until `done`; returns whether the run is still alive.

        Raises:
            WorkerError: the run hangs.
        """
        while not done():
            ended = self._process.poll() is not None  # before the last events are read
            self._read_events()
            if ended:
                return False
            if self.seconds > _LIMIT_SECONDS:
                raise WorkerError(f"a run did not end in {_LIMIT_SECONDS:.0f} s: {self.last_errors()}")
            time.sleep(_POLL_SECONDS)
        return True

    def wait_for(self, seconds: float) -> bool:
        """Read events for `seconds`; returns whether the run is still alive."""
        until = time.monotonic() + seconds
        return self.wait(lambda: time.monotonic() >= until)

    def kill(self) -> None:
        """Kill the coordinator with SIGKILL."""
        self._process.kill()
        self.wait()

    def workers(self) -> list[int]:
        """Return the process ids of its workers."""
        return [pid for pid in _session(self._process.pid) if _is_worker(pid, self._process.pid)]

    def kill_orphans(self, patience: float = PATIENCE_SECONDS) -> int:
        """Kill processes that outlive the coordinator by `patience` seconds; returns their number."""
        until = time.monotonic() + patience
        while (left := _session(self._process.pid)) and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
        for pid in left:
            kill(pid)
        return len(left)

    def last_errors(self) -> str:
        """Return the end of its standard error, without the frames of tracebacks."""
        lines = [line for line in self._errors.read_text().splitlines() if line.strip() and line[0] != " "]
        return " | ".join(lines[-6:])

    def _read_events(self) -> None:
        *lines, self._rest = (self._rest + self._output.read()).split("\n")
        self.events += [json.loads(line) for line in lines if line.startswith("{")]
        if self.ready is None and any(event["event"] == "started" for event in self.events):
            self.ready = self.seconds


def kill(pid: int) -> bool:
    """Kill a process; returns whether it existed."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _session(leader: int) -> list[int]:
    """Return the live processes of the session of `leader`, without `leader`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != leader:
            status = _status(int(entry.name))
            # A zombie has ended; its parent has not yet waited for it.
            if status and status[0] not in "ZX" and int(status[3]) == leader:
                found.append(int(entry.name))
    return found


def _is_worker(pid: int, coordinator: int) -> bool:
    status = _status(pid)
    try:
        return bool(status) and int(status[1]) == coordinator and "spawn_main" in _command(pid)
    except OSError:
        return False


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def _status(pid: int) -> list[str]:
    """Return state, parent, group, session and so on (proc_pid_stat(5)); empty without such a process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
