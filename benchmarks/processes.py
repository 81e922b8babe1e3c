"""One process for each side of the comparison, asked in turn and never at the same time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import warnings
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Literal, Self

from sasrecf_tune.errors import TuneError, WorkerError

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class Setting:
    """What a process starts with. `engine` is recbole, fast, or floor for plain matrix products."""

    engine: str
    device: Device
    config: dict[str, Any]


class Side:
    """A process that answers one request at a time; a context manager that ends it.

    Processes are spawned, so that their memory starts from nothing, and the parent imports neither
    torch nor recbole: Linux counts the parent's memory at the start towards a child's peak.
    """

    def __init__(self, setting: Setting) -> None:
        context = multiprocessing.get_context("spawn")
        self.engine = setting.engine
        # The parent's to delete: a process that is ended from outside cannot.
        self._scratch = tempfile.TemporaryDirectory()
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, setting, self._scratch.name), daemon=True)
        self._process.start()
        other.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join(5 if kind is None else 0)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()
        self._scratch.cleanup()

    def ask(self, request: str, *arguments: object) -> Any:
        """The answer to a request, the name of a method in sides.py.

        Raises:
            TuneError: the request failed, or the process is gone.
        """
        try:
            self._pipe.send((request, arguments))
            answer = self._pipe.recv()
        except (EOFError, ConnectionError) as error:
            self._process.join(5)
            raise WorkerError(
                f"the process of {self.engine} ended at {request!r} (exit code {self._process.exitcode})",
                fix="Exit code -9 is mostly the system running out of memory.",
            ) from error
        if isinstance(answer, TuneError):
            raise answer
        return answer


def _serve(pipe: Connection, setting: Setting, scratch: str) -> None:
    # Ctrl-C reaches all processes; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The parent's standard output may be the JSON.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # Deprecation notes of what RecBole imports.
    warnings.simplefilter("ignore")
    # RecBole's trainer makes a directory of checkpoints wherever it is run.
    os.chdir(scratch)
    side: Any = None
    while True:
        try:
            request, arguments = pipe.recv()
        except (EOFError, ConnectionError):
            return
        try:
            if side is None:
                import sides  # torch, recbole

                side = sides.make(setting)
            answer: object = getattr(side, request)(*arguments)
        except TuneError as error:
            answer = error
        except Exception as error:  # noqa: BLE001  # RecBole and torch raise whatever they stumble on
            text = " ".join(str(error).split())[:400]
            answer = WorkerError(f"{setting.engine}, {request}: {type(error).__name__}: {text}")
        pipe.send(answer)
