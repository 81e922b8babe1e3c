"""`sasrecf-tune dashboard`: optuna-dashboard on one study, on this machine alone."""

from __future__ import annotations

from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from rich.console import Console

from sasrecf_tune.errors import InputError, StudyNotFoundError
from sasrecf_tune.storage.directory import find_study
from sasrecf_tune.storage.manifest import settings_from

_HERE = "127.0.0.1"  # who can reach it can delete the study


class _Server(ThreadingMixIn, WSGIServer):
    """A page asks for several things at once."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nobody wants to read of every request."""


def serve(out: Path, name: str | None, storage: str | None, port: int, console: Console) -> int:
    """Serve the study until Ctrl-C; returns the exit code. `port` 0 is a free one.

    Raises:
        InputError: optuna-dashboard is not installed, the port is taken, or there is no such study.
        StorageError: the study cannot be read.
    """
    from sasrecf_tune.storage.database.errors import check_database
    from sasrecf_tune.storage.database.open import open_storage

    study_dir = find_study(out, name)
    url = settings_from(study_dir)[0].database(storage)
    try:
        import optuna_dashboard
    except ImportError as error:
        raise InputError('optuna-dashboard is not installed: pip install "optuna-dashboard>=0.18"') from error
    check_database(study_dir, url)
    opened = open_storage(study_dir, url)
    try:
        study = opened.get_study_id_from_name(study_dir.name)
    except KeyError as error:
        raise StudyNotFoundError(
            f"the database holds no study {study_dir.name!r}", where=str(study_dir.directory)
        ) from error
    try:
        server = make_server(_HERE, port, optuna_dashboard.wsgi(opened), _Server, _Quiet)
    except OSError as error:
        raise InputError(
            f"cannot listen on port {port}: {error.strerror}",
            where="--port",
            fix="Give another one; 0 takes any that is free.",
        ) from error
    console.print(
        f"{study_dir.name}: http://{_HERE}:{server.server_port}/dashboard/studies/{study}\nCtrl-C ends it.",
        highlight=False,
        soft_wrap=True,
    )
    try:
        with server:
            server.serve_forever()
    except KeyboardInterrupt:
        return 0
    return 0
