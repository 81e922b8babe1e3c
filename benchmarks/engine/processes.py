"""Processes that are measured in turns, never at the same time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from sasrecf_tune.errors import TuneError, WorkerError

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class ProcessSetting:
    """What a process measures. `engine` is recbole, fast, hopwise, or floor for plain matrix products.

    The function `make` of `module` returns, for these settings, the object whose methods are called. `python`
    is the interpreter, which may be that of another environment.
    """

    engine: str
    device: Device
    config: dict[str, Any]
    module: str = "benchmarks.engine.measured_engines"
    python: str = sys.executable


class MeasuredProcess:
    """A process that runs one method at a time; a context manager that ends it.

    It is a new program, so that its memory starts empty, and the parent imports neither torch nor recbole:
    Linux counts the parent's memory at the start towards a child's peak.
    """

    def __init__(self, setting: ProcessSetting) -> None:
        self.engine = setting.engine
        # The parent deletes it: a process that is terminated cannot.
        self._scratch = tempfile.TemporaryDirectory()
        self._pipe, other = Pipe()
        self._process = subprocess.Popen(
            [setting.python, "-m", __name__, str(other.fileno())],
            pass_fds=[other.fileno()],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
        )
        other.close()
        self._pipe.send((setting, self._scratch.name))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        try:
            self._process.wait(5 if kind is None else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._scratch.cleanup()

    def call(self, request: str, *arguments: object) -> Any:
        """Call a method in the process and return its result.

        Raises:
            TuneError: the call failed, or the process has ended.
        """
        try:
            self._pipe.send((request, arguments))
            answer = self._pipe.recv()
        except (EOFError, ConnectionError) as error:
            code = self._process.wait(5)
            raise WorkerError(
                f"the process of {self.engine} ended in {request!r} (exit code {code})",
                fix="Exit code -9 mostly means that the system ran out of memory.",
            ) from error
        if isinstance(answer, TuneError):
            raise answer
        return answer


def _serve(pipe: Connection) -> None:
    # Ctrl-C reaches all processes; only the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The parent's standard output is for the JSON.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # Deprecation warnings of what RecBole imports.
    warnings.simplefilter("ignore")
    setting, scratch = pipe.recv()
    # RecBole's trainer creates a directory for checkpoints in the working directory.
    os.chdir(scratch)
    target: Any = None
    while True:
        try:
            request, arguments = pipe.recv()
        except (EOFError, ConnectionError):
            return
        try:
            if target is None:
                target = import_module(setting.module).make(setting)  # imports torch and RecBole
            answer: object = getattr(target, request)(*arguments)
        except TuneError as error:
            answer = error
        except Exception as error:  # noqa: BLE001  # RecBole and torch raise many kinds of errors
            text = " ".join(str(error).split())[:400]
            answer = WorkerError(f"{setting.engine}, {request}: {type(error).__name__}: {text}")
        pipe.send(answer)


if __name__ == "__main__":
    _serve(Connection(int(sys.argv.pop())))
