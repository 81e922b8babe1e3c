"""A PostgreSQL server of one's own, for the tests and for the campaign of kills."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Where Debian and its like have them.
_PLACES = "/usr/lib/postgresql"
_USERS = ("postgres", "nobody")


class MissingError(Exception):
    """There is no PostgreSQL here, or no driver; the message says which."""


class Server:
    """A server below `directory`, which listens on a socket there alone."""

    def __init__(self, directory: Path) -> None:
        self._binaries = _binaries()
        # The server refuses to run as root.
        user = next((name for name in _USERS if _exists(name)), "") if os.geteuid() == 0 else ""
        self._as = ["runuser", "-u", user, "--"] if user else []
        self._data = directory / "data"
        self._log = directory / "log"
        self._directory = directory
        if user:
            shutil.chown(directory, user)
        self._run("initdb", "-D", self._data, "-U", "tuner", "-A", "trust", "-E", "UTF8", "--no-sync")

    @property
    def url(self) -> str:
        """The address of its database, for --storage."""
        return self.database("postgres")

    def database(self, name: str) -> str:
        """The address of one of its databases."""
        return f"postgresql+psycopg://tuner@/{name}?host={self._directory}"

    def create(self, name: str) -> str:
        """Make a database; returns its address."""
        import psycopg

        address = f"host={self._directory} user=tuner dbname=postgres"
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.database(name)

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        # No data outlives a test, so nothing is synced; its connections are many.
        options = f"-c listen_addresses='' -k {self._directory} -c fsync=off -c max_connections=200"
        self._run("pg_ctl", "-D", self._data, "-l", self._log, "-w", "-o", options, "start")

    def stop(self, how: str = "fast") -> None:
        """Stop it, whoever is connected; "immediate" is as a crash."""
        self._run("pg_ctl", "-D", self._data, "-m", how, "-w", "stop")

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [*self._as, self._binaries / program, *arguments],
            stdout=subprocess.DEVNULL,  # which the server keeps open: a pipe would not end
            stderr=subprocess.DEVNULL,
            cwd=self._directory,
        )
        if done.returncode:
            said = self._log.read_text()[-2000:] if self._log.exists() else ""
            raise MissingError(f"{program} ended with {done.returncode}: {said}")


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A server that is gone when the block ends.

    Raises:
        MissingError: there is no PostgreSQL, or no driver.
    """
    if importlib.util.find_spec("psycopg") is None:
        raise MissingError('psycopg is not installed: pip install "psycopg[binary]"')
    # A short path: a socket's may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        server = Server(Path(directory))
        server.start()
        try:
            yield server
        finally:
            with contextlib.suppress(MissingError):  # a test may have stopped it
                server.stop("immediate")


def _binaries() -> Path:
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else sorted(Path(_PLACES).glob("*/bin"), reverse=True)
    if not places or not (places[0] / "initdb").exists():
        raise MissingError("PostgreSQL's server is not installed, as by `apt install postgresql`")
    return places[0]


def _exists(user: str) -> bool:
    return subprocess.run(["id", user], capture_output=True).returncode == 0
