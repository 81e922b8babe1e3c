"""A run of the coordinator that can be killed, its workers, and what it leaves behind (Linux's /proc)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from sasrecf_tune.errors import WorkerError

# A run that takes longer hangs.
_LIMIT_SECONDS = 300.0
# So long after a coordinator's death its workers may take to notice.
PATIENCE_SECONDS = 10.0
_POLL_SECONDS = 0.002
# At a random moment from outside, or from inside, see under_attack.py.
_KILLED = (-signal.SIGKILL, -signal.SIGALRM)


class Run:
    """One run, in a session of its own; `events` is what it has said so far.

    A context manager: when the block is left, for whatever reason, nothing of the run is alive. Its output
    goes to files below `scratch`: a pipe that nobody reads would stop it.
    """

    def __init__(self, command: Sequence[str], scratch: Path) -> None:
        self._errors = scratch / "stderr"
        said = scratch / "stdout"
        self.events: list[dict[str, Any]] = []
        self.launched = time.monotonic()
        self.ready: float | None = None  # seconds from the launch to the first trial's start
        with said.open("w") as out, self._errors.open("w") as err:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                # The same sums in the same order, whatever the executor.
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        self._said = said.open()
        self._rest = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self.left_behind()
        self._said.close()

    @property
    def seconds(self) -> float:
        """Since the launch."""
        return time.monotonic() - self.launched

    @property
    def code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.returncode

    @property
    def killed(self) -> bool:
        """Whether it was killed."""
        return self._process.returncode in _KILLED

    def wait(self, done: Callable[[], object] = lambda: False) -> bool:
        """Listen until `done`; returns whether the run is still alive.

        Raises:
            WorkerError: it takes for ever.
        """
        while not done():
            ended = self._process.poll() is not None  # before the last look at what it said
            self._listen()
            if ended:
                return False
            if self.seconds > _LIMIT_SECONDS:
                raise WorkerError(f"a run did not end in {_LIMIT_SECONDS:.0f} s: {self.last_words()}")
            time.sleep(_POLL_SECONDS)
        return True

    def wait_for(self, seconds: float) -> bool:
        """Listen for so long; returns whether the run is still alive."""
        until = time.monotonic() + seconds
        return self.wait(lambda: time.monotonic() >= until)

    def kill(self) -> None:
        """Kill the coordinator, which does not get to say a word to its workers."""
        self._process.kill()
        self.wait()

    def workers(self) -> list[int]:
        """Process ids of its workers."""
        return [pid for pid in _session(self._process.pid) if _is_worker(pid, self._process.pid)]

    def left_behind(self, patience: float = PATIENCE_SECONDS) -> int:
        """Processes that are alive `patience` seconds after the coordinator's end; they are ended now."""
        until = time.monotonic() + patience
        while (left := _session(self._process.pid)) and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
        for pid in left:
            kill(pid)
        return len(left)

    def last_words(self) -> str:
        """The end of its standard error, of tracebacks the errors alone."""
        lines = [line for line in self._errors.read_text().splitlines() if line.strip() and line[0] != " "]
        return " | ".join(lines[-6:])

    def _listen(self) -> None:
        *lines, self._rest = (self._rest + self._said.read()).split("\n")
        self.events += [json.loads(line) for line in lines if line.startswith("{")]
        if self.ready is None and any(event["event"] == "started" for event in self.events):
            self.ready = self.seconds


def kill(pid: int) -> bool:
    """Kill a process; returns whether there was one."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _session(leader: int) -> list[int]:
    """Live processes of the session that `leader` began, itself left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != leader:
            status = _status(int(entry.name))
            # A zombie is dead; whoever adopted it has yet to look.
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
    """State, parent, group, session and so on (proc_pid_stat(5)); empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
