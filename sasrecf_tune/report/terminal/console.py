"""Consoles and printing for people."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TextIO

from rich.console import Console, RenderableType
from rich.text import Text

from sasrecf_tune.storage.files import atomic_write, make_directory


def make_console(file: TextIO | None = None) -> Console:
    """Return a console that writes to `file`, or to standard output.

    In a file or a pipe, lines are as long as their content unless COLUMNS is set.
    """
    stream = file or sys.stdout
    wide = not stream.isatty() and "COLUMNS" not in os.environ
    return Console(file=file, width=10_000 if wide else None)


def write_output(text: str, output: Path | None) -> None:
    """Print `text`, or write it to the file `output`.

    Raises:
        StorageError: The file cannot be written.
    """
    if output is None:
        sys.stdout.write(text)
    else:
        make_directory(output.absolute().parent)
        atomic_write(output.absolute(), text)


def print_line(console: Console, text: str, style: str = "") -> None:
    """Print `text` as it is, without markup; only a terminal wraps it."""
    console.print(Text(text, style=style), soft_wrap=not console.is_terminal)


def print_table(console: Console, table: RenderableType) -> None:
    """Print `table`; in a file or a pipe, without trailing spaces."""
    if console.is_terminal:
        console.print(table, highlight=False)
        return
    with console.capture() as captured:
        console.print(table, highlight=False)
    text = re.sub(r" +$", "", captured.get().rstrip("\n"), flags=re.MULTILINE)
    console.print(Text(text), soft_wrap=True)
