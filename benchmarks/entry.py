"""How each benchmark starts, and how it ends when something is wrong."""

from __future__ import annotations

import sys

import typer

from sasrecf_tune.errors import Interrupted, TuneError


def say(text: str) -> None:
    """Something for the person who waits; standard output is for the JSON."""
    typer.echo(text, err=True)


def start(app: typer.Typer) -> None:
    """Run the command line and exit; what went wrong is one line."""
    try:
        app()
    except TuneError as error:
        say(f"error: {'. '.join(str(error).splitlines())}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(Interrupted.exit_code)
