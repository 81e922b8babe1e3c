"""How each benchmark starts, and how it ends when something is wrong."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from sasrecf_tune.errors import Interrupted, TuneError

Threads = Annotated[int, typer.Option(min=0, help="Threads of each process, 0 for torch's choice.")]
JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the JSON here, not to the screen.")
]
MarkdownFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the table here, not to the screen.")
]


def say(text: str) -> None:
    """Something for the person who waits; standard output is for the JSON."""
    typer.echo(text, err=True)


def use_threads(threads: int) -> None:
    """Of this process and of those that it starts; before torch is imported, which reads it then."""
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)


def write(text: str, file: Path | None) -> None:
    """Write to `file`, or to standard output."""
    if file is None:
        sys.stdout.write(text)
    else:
        file.write_text(text)


def start(app: typer.Typer) -> None:
    """Run the command line and exit; what went wrong is one line."""
    try:
        app()
    except TuneError as error:
        say(f"error: {'. '.join(str(error).splitlines())}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(Interrupted.exit_code)
