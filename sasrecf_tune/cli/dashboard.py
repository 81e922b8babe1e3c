"""`sasrecf-tune dashboard`: optuna-dashboard for one study, reachable from this machine only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from rich.console import Console
from typing_extensions import override

from sasrecf_tune.errors import InputError, StudyNotFoundError
from sasrecf_tune.storage.directory import find_study
from sasrecf_tune.storage.manifest import settings_from
from sasrecf_tune.storage.recorded_addresses import database_address

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_HOST = "127.0.0.1"  # the page can delete the study

_THIS_MACHINE = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]+)?")
_PROTECTION = (
    # A page of another site could show the dashboard in a frame, below its own buttons; notebooks and editors
    # of this machine may. The policy of optuna-dashboard itself lets a page load nothing from elsewhere.
    (
        "Content-Security-Policy",
        f"frame-ancestors 'self' http://localhost:* http://{_HOST}:* vscode-webview:",
    ),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("X-Content-Type-Options", "nosniff"),
)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # a page sends several requests at once


class _QuietHandler(WSGIRequestHandler):
    @override
    def log_message(self, *_: Any) -> None:
        pass


def own_pages_only(dashboard: WSGIApplication, port: Callable[[], int]) -> WSGIApplication:
    """Refuse what pages of other sites send to `dashboard`, which can delete the study.

    A browser sends requests of any open page to this machine. Their Origin is another one; with DNS rebinding
    it is the same, but then Host is the other site's name. The port may be that of a tunnel.
    """

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def respond(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            return start_response(status, [*headers, *_PROTECTION], *error)

        host, origin = environ.get("HTTP_HOST", "").lower(), environ.get("HTTP_ORIGIN")
        foreign = environ.get("HTTP_SEC_FETCH_SITE") in ("cross-site", "same-site")
        if (
            _THIS_MACHINE.fullmatch(host)
            and (origin is None or origin in (f"http://{host}", f"https://{host}"))
            and (environ["REQUEST_METHOD"] in ("GET", "HEAD") or not foreign)
        ):
            return dashboard(environ, respond)
        respond("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"This dashboard answers only its own pages at http://{_HOST}:{port()}/.\n".encode()]

    return application


def serve(out: Path, name: str | None, storage: str | None, port: int, console: Console) -> int:
    """Serve the study until Ctrl-C.

    Args:
        port: The port, 0 for any free one.

    Returns:
        The exit code.

    Raises:
        InputError: optuna-dashboard is not installed, the port is in use, or the study does not exist.
        StorageError: The study cannot be read.
    """
    from sasrecf_tune.storage.database.errors import check_database
    from sasrecf_tune.storage.database.open import open_storage

    study_dir = find_study(out, name)
    url = database_address(settings_from(study_dir)[0], storage)
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
            f"the database does not contain the study {study_dir.name!r}", where=str(study_dir.directory)
        ) from error
    try:
        # The port is known once the server listens.
        application = own_pages_only(optuna_dashboard.wsgi(opened), lambda: server.server_port)
        server = make_server(_HOST, port, application, _Server, _QuietHandler)
    except OSError as error:
        raise InputError(
            f"cannot listen on port {port}: {error.strerror}",
            where="--port",
            fix="Use another one, or 0 for any free port.",
        ) from error
    console.print(
        f"{study_dir.name}: http://{_HOST}:{server.server_port}/dashboard/studies/{study}\n"
        "Its importances (PED-ANOVA) say what sets the best tenth of the trials apart, those of `report` "
        "(fANOVA) what explains all scores.\n"
        "Press Ctrl-C to stop.",
        highlight=False,
        soft_wrap=True,
    )
    try:
        with server:
            server.serve_forever()
    except KeyboardInterrupt:
        return 0
    return 0
