"""Starts database servers, for the tests and for the fault benchmarks."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override


class MissingError(Exception):
    """The server or its driver is not installed, or fails; the message says which."""


class Server(ABC):
    """A server whose data and log are below `directory`.

    Raises:
        MissingError: it is not installed, or fails.
    """

    kind: str
    driver: str
    users: tuple[str, ...]

    def __init__(self, directory: Path) -> None:
        if importlib.util.find_spec(self.driver) is None:
            raise MissingError(f"{self.driver} is not installed; it is in the extra `dev`")
        self.directory = directory
        self.data = directory / "data"
        self.log = directory / "log"
        # Servers do not run as root.
        user = next((name for name in self.users if _exists(name)), "") if os.geteuid() == 0 else ""
        self.as_user = ["runuser", "-u", user, "--"] if user else []
        if user:
            shutil.chown(directory, user)

    @abstractmethod
    def create(self, name: str) -> str:
        """Create a database; returns its address, for --storage."""

    @abstractmethod
    def start(self) -> None:
        """Start it, and wait until it accepts connections."""

    @abstractmethod
    def stop(self, how: str = "fast") -> None:
        """Stop it, whoever is connected; "immediate" is like a crash."""

    def run(self, program: str | Path, *arguments: str | Path) -> None:
        """Run one of its programs to the end, as its user."""
        done = subprocess.run(
            [*self.as_user, program, *arguments],
            stdout=subprocess.DEVNULL,  # the server keeps it open: a pipe would not end
            stderr=subprocess.DEVNULL,
            cwd=self.directory,
        )
        if done.returncode:
            raise MissingError(f"{program} ended with {done.returncode}: {self.log_tail()}")

    def log_tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""


class PostgreSQL(Server):
    """Listens only on a socket in its directory."""

    kind = "postgresql"
    driver = "psycopg"
    users = ("postgres", "nobody")

    def __init__(self, directory: Path) -> None:
        self._binaries = _find_directory("initdb", sorted(Path("/usr/lib/postgresql").glob("*/bin"))[::-1])
        super().__init__(directory)
        arguments = ("-D", self.data, "-U", "tuner", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.run(self._binaries / "initdb", *arguments)

    @override
    def create(self, name: str) -> str:
        import psycopg

        address = f"host={self.directory} user=tuner dbname=postgres"
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return f"postgresql+psycopg://tuner@/{name}?host={self.directory}"

    @override
    def start(self) -> None:
        # No data outlives a test, so nothing is synced.
        options = f"-c listen_addresses='' -k {self.directory} -c fsync=off -c max_connections=200"
        self.run(self._control, "-D", self.data, "-l", self.log, "-w", "-o", options, "start")

    @override
    def stop(self, how: str = "fast") -> None:
        self.run(self._control, "-D", self.data, "-m", how, "-w", "stop")

    @property
    def _control(self) -> Path:
        return self._binaries / "pg_ctl"


class MariaDB(Server):
    """Listens on a port of 127.0.0.1; its user has a password."""

    kind = "mariadb"
    driver = "pymysql"
    users = ("mysql", "nobody")
    password = "s3cret"
    # Nothing is synced, and buffers are small; everything else is the default, such as latin1 for tables.
    _OPTIONS = (
        *("--no-defaults", "--debug-no-sync", "--innodb-doublewrite=0", "--innodb-undo-tablespaces=0"),
        *("--innodb-log-file-size=8M", "--innodb-buffer-pool-size=32M", "--skip-name-resolve"),
        "--innodb-data-file-path=ibdata1:8M:autoextend",
    )

    def __init__(self, directory: Path) -> None:
        places = [Path("/usr/sbin"), Path("/usr/libexec"), Path("/usr/bin"), Path("/usr/local/bin")]
        self._server = _find_directory("mariadbd", places) / "mariadbd"
        make = _find_directory("mariadb-install-db", places) / "mariadb-install-db"
        super().__init__(directory)
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0  # until the first start
        normal = "--auth-root-authentication-method=normal"
        self.run(make, *self._OPTIONS, f"--datadir={self.data}", normal, "--skip-test-db")

    @override
    def create(self, name: str) -> str:
        with self._administration() as cursor:
            cursor.execute(f"CREATE DATABASE `{name}`")
        return f"mysql://tuner:{self.password}@127.0.0.1:{self._port}/{name}"

    @override
    def start(self) -> None:
        # It keeps its port, which clients know.
        self._port = self._port or free_port()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(*self.as_user, str(self._server), *self._OPTIONS, f"--datadir={self.data}"),
                    *(f"--port={self._port}", "--bind-address=127.0.0.1", f"--socket={self.directory / 's'}"),
                    *(f"--pid-file={self.directory / 'pid'}", "--max-connections=200"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
            )
        while not self._answers():
            if self._process.poll() is not None:
                raise MissingError(f"{self._server} has ended: {self.log_tail()}")
            time.sleep(0.05)
        with self._administration() as cursor:
            cursor.execute(
                f"GRANT ALL ON *.* TO tuner@127.0.0.1 IDENTIFIED BY '{self.password}' WITH GRANT OPTION"
            )

    @override
    def stop(self, how: str = "fast") -> None:
        if self._process is not None and self._process.poll() is None:
            # Its own process: that of `_process` may be one that only changes the user.
            server = int((self.directory / "pid").read_text())
            os.kill(server, signal.SIGKILL if how == "immediate" else signal.SIGTERM)
            self._process.wait()

    def _answers(self) -> bool:
        import pymysql

        with contextlib.suppress(pymysql.Error), self._administration():
            return True
        return False

    @contextlib.contextmanager
    def _administration(self) -> Iterator[Any]:
        import pymysql

        with pymysql.connect(unix_socket=str(self.directory / "s"), user="root") as connection:
            yield connection.cursor()


KINDS: dict[str, type[Server]] = {kind.kind: kind for kind in (PostgreSQL, MariaDB)}


@contextlib.contextmanager
def running(kind: str) -> Iterator[Server]:
    """Run a server of one of KINDS until the block ends.

    Raises:
        MissingError: it or its driver is not installed.
    """
    # A short path: that of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="db-", dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        server = KINDS[kind](Path(directory))
        server.start()
        try:
            yield server
        finally:
            with contextlib.suppress(MissingError):  # a test may have stopped it
                server.stop("immediate")


def _find_directory(program: str, places: Sequence[Path]) -> Path:
    found = shutil.which(program)
    for place in [Path(found).parent] if found else places:
        if (place / program).exists():
            return place
    raise MissingError(f"{program} is not installed: `apt install postgresql mariadb-server`")


def free_port() -> int:
    """A free port outside the range of outgoing connections, which could take it while the server is down."""
    # Tests seed the shared generator, in each process with the same number.
    for port in random.SystemRandom().sample(range(20000, 32000), 100):
        with contextlib.suppress(OSError), socket.socket() as free:
            free.bind(("127.0.0.1", port))
            return port
    raise MissingError("no port is free")


def _exists(user: str) -> bool:
    return subprocess.run(["id", user], capture_output=True).returncode == 0
