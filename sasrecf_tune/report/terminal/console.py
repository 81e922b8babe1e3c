"""Consoles and printing for people."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TextIO

from rich.console import Console, RenderableType
from rich.text import Text

from sasrecf_tune.errors import InputError, StorageError
from sasrecf_tune.storage.files import RUN_AGAIN, atomic_write, disk_error


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
        InputError: It is a directory, or in one that does not exist.
        StorageError: The file cannot be written.
    """
    if output is None:
        sys.stdout.write(text)
        return
    target = output.resolve()  # a link stays one
    if target.is_dir():
        raise InputError("this is a directory", where=str(output), fix="Give the name of a file in it.")
    if not target.parent.is_dir():
        raise InputError(
            f"there is no directory {target.parent}",
            where=str(output),
            fix="Create it, or choose another one.",
        )
    try:
        if target.exists() and not target.is_file():  # a pipe or a device, which is not to be replaced
            with output.open("w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        else:
            atomic_write(target, text)
    except OSError as error:
        raise _writing_error(disk_error(output, error)) from error
    except StorageError as error:
        raise _writing_error(error) from error


def _writing_error(error: StorageError) -> StorageError:
    # No study is continued by writing the file again.
    return StorageError(error.what, where=error.where, fix=error.fix.removesuffix(RUN_AGAIN).strip())


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
