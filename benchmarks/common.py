"""What all benchmarks share: options, output, exit codes, a database server."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from sasrecf_tune.errors import InputError, Interrupted, TuneError

Threads = Annotated[int, typer.Option(min=0, help="Threads of each process, 0 for torch's choice.")]
JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the JSON here, not to the screen.")
]
MarkdownFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the table here, not to the screen.")
]


def print_progress(text: str) -> None:
    """Print progress to standard error; standard output is for the JSON."""
    typer.echo(text, err=True)


def set_threads(threads: int) -> None:
    """Set the threads of this process and of those that it starts; call it before torch is imported."""
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)


def write_output(text: str, file: Path | None) -> None:
    """Write to `file`, or to standard output."""
    if file is None:
        sys.stdout.write(text)
    else:
        file.write_text(text)


def start(app: typer.Typer) -> None:
    """Run the command line and exit; an error is one line."""
    try:
        app()
    except TuneError as error:
        typer.echo(f"error: {'. '.join(str(error).splitlines())}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(Interrupted.exit_code)


@contextlib.contextmanager
def database_server(kind: str = "postgresql") -> Iterator[str]:
    """Start a PostgreSQL or MariaDB server; gives the URL of a database on it.

    Raises:
        InputError: it is not installed on this machine.
    """
    from tests.support.database_servers import MissingError, running

    try:
        with running(kind) as started:
            yield started.create("campaign")
    except MissingError as missing:
        raise InputError(str(missing), where=f"a server of {kind}") from missing
