"""Where text for people goes."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from rich.console import Console


def screen(file: TextIO | None = None) -> Console:
    """A console on `file`, or on standard output.

    A file or a pipe has no width of its own: lines are as long as their content, unless COLUMNS is set.
    """
    stream = file or sys.stdout
    wide = not stream.isatty() and "COLUMNS" not in os.environ
    return Console(file=file, width=10_000 if wide else None)
