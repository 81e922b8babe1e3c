"""Consoles and printing for people."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text
from typing_extensions import override

from sasrecf_tune.errors import InputError, StorageError
from sasrecf_tune.report.text import visible
from sasrecf_tune.storage.files import RUN_AGAIN, atomic_write, disk_error


class SafeConsole(Console):
    """A console that shows control characters of a text as escapes, and reads no text as rich's markup."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **settings)

    @override
    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(visible(segment.text), segment.style)


def ignore_unknown_width() -> None:
    """Remove COLUMNS from the environment where it is 0 or no number: then nothing would be shown."""
    columns = os.environ.get("COLUMNS", "")
    if not columns.isdecimal() or int(columns) == 0:
        os.environ.pop("COLUMNS", None)


def make_console(file: TextIO | None = None) -> Console:
    """Return a console that writes to `file`, or to standard output.

    In a file or a pipe, lines are as long as their content unless COLUMNS is set.
    """
    stream = file or sys.stdout
    wide = not stream.isatty() and "COLUMNS" not in os.environ
    return SafeConsole(file=file, width=10_000 if wide else None)


def write_output(text: str, output: Path | None, *, own: bool = False) -> None:
    """Print `text`, or write it to the file `output`.

    Args:
        own: It is a file of a study directory, which may come from somebody else: a link or a pipe of this
            name is replaced, not written to.

    Raises:
        InputError: It is a directory, or in one that does not exist.
        StorageError: The file cannot be written.
    """
    if output is None:
        sys.stdout.write(visible(text) if sys.stdout.isatty() else text)
        return
    target = output if own else output.resolve()  # a link stays one
    # A pipe or a device is not to be replaced; that of /dev/stdout has no name that can be resolved.
    is_stream = not own and output.exists() and not output.is_file()
    if output.is_dir():
        raise InputError("this is a directory", where=str(output), fix="Give the name of a file in it.")
    if not is_stream and not target.parent.is_dir():
        raise InputError(
            f"there is no directory {target.parent}",
            where=str(output),
            fix="Create it, or choose another one.",
        )
    try:
        if is_stream:
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


def print_command(console: Console, text: str, command: str) -> None:
    """Print `text` and a command to copy, which has a line of its own where a terminal would break it."""
    breaks = console.is_terminal and len(text) + 1 + len(command) > console.width
    console.print(Text(f"{text}{chr(10) + '  ' if breaks else ' '}{command}"), soft_wrap=True)


def print_table(console: Console, table: RenderableType) -> None:
    """Print `table`; in a file or a pipe, without trailing spaces."""
    if console.is_terminal:
        console.print(table, highlight=False)
        return
    with console.capture() as captured:
        console.print(table, highlight=False)
    text = re.sub(r" +$", "", captured.get().rstrip("\n"), flags=re.MULTILINE)
    console.print(Text(text), soft_wrap=True)
