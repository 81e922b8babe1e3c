"""The command line in a process that a test can watch and kill."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from sasrecf_tune.cli.app import main

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


def user_environment() -> dict[str, str]:
    """The environment of the command line; RecBole sets CUDA_VISIBLE_DEVICES in the process that uses it."""
    user = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    return user | {"COLUMNS": "200", "NO_COLOR": "1"}


def run_here(*args: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `sasrecf-tune ARGS` in this process: a new one imports for a second what this one has."""
    words = command(*args)[2:]
    with contextlib.ExitStack() as stack:
        out, err = (stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8")) for _ in range(2))
        stack.enter_context(contextlib.chdir(cwd))
        stack.enter_context(mock.patch.dict(os.environ, user_environment(), clear=True))
        stack.enter_context(mock.patch.object(sys, "argv", words))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException:  # noqa: BLE001  # as the interpreter does
            traceback.print_exc()
            code = 1
        for stream in (out, err):
            stream.seek(0)
        return subprocess.CompletedProcess(words, code, out.read(), err.read())


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
