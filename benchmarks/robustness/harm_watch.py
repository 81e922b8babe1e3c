"""Watches what a command does: writes, connections, unpickling, programs that it starts."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty")


@dataclass
class Report:
    """Counts of all cases; everything below `cases` must stay 0."""

    cases: dict[str, int] = field(default_factory=dict)
    tracebacks: int = 0
    unexpected_exit_codes: int = 0
    writes_outside: int = 0
    connections: int = 0
    unpickled: int = 0
    programs_started: int = 0
    control_characters: int = 0


class Watch:
    """Counts what a command does, by the audit events of Python and by a server that listens."""

    def __init__(self, report: Report, allowed: Path) -> None:
        self._report = report
        self._allowed = str(allowed)
        self._active = False
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.events: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()
        sys.dont_write_bytecode = True  # the cache of a module that is imported late is no harm
        sys.addaudithook(self._audit)

    @contextlib.contextmanager
    def watching(self) -> Iterator[list[str]]:
        """Collect the events of the block."""
        self.events = []
        self._active = True
        try:
            yield self.events
        finally:
            self._active = False

    def _accept(self) -> None:
        while True:
            connection, _ = self._server.accept()
            connection.close()
            self._report.connections += 1
            self.events.append("a connection to the server")

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._active:
            return
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
            path = (
                os.path.realpath(os.fsdecode(arguments[0])) if isinstance(arguments[0], str | bytes) else ""
            )
            if path and path != os.devnull and not path.startswith(self._allowed):
                self._report.writes_outside += 1
                self.events.append(f"write to {path}")
        elif event in ("socket.connect", "socket.getaddrinfo"):
            self._report.connections += 1
            self.events.append(f"{event} {arguments[1:]}")
        elif event == "pickle.find_class":
            self._report.unpickled += 1
            self.events.append(f"{event} {arguments}")
        elif event in _STARTS:
            self._report.programs_started += 1
            self.events.append(f"{event} {arguments[:1]}")
