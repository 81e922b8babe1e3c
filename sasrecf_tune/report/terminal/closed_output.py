"""Standard output and error that nobody reads, such as `| head -1` or `>&-`: the command goes on."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
from typing import TextIO

from typing_extensions import Buffer, override

_CLOSED = "standard output was closed: the rest of the output is discarded, and the command goes on\n"


def allow_closed_output() -> None:
    """Discard what is written to a pipe without a reader, after a note on standard error."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:  # closed before this process began
            discard_output(number)
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))
            if number == 1 and sys.stderr is not None:
                sys.stderr.write(_CLOSED)
        elif type(stream) is io.TextIOWrapper and _is_pipe(number) and stream.fileno() == number:
            setattr(
                sys,
                name,
                io.TextIOWrapper(
                    io.BufferedWriter(_Pipe(number, "w", closefd=False)),
                    encoding=stream.encoding,
                    errors=stream.errors,
                    line_buffering=stream.line_buffering,
                ),
            )


class _Pipe(io.FileIO):
    """The writing end of a pipe whose reader may leave."""

    @override
    def write(self, data: Buffer, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            number = self.fileno()
            discard_output(number)
            if number == 1:
                with contextlib.suppress(OSError):
                    os.write(2, _CLOSED.encode())
            return super().write(data)


def _is_pipe(number: int) -> bool:
    mode = os.fstat(number).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def discard_output(*descriptors: int) -> None:
    """Make each descriptor one that takes everything, and that no other file gets."""
    null = os.open(os.devnull, os.O_WRONLY)
    for number in descriptors:
        if number != null:
            os.dup2(null, number)
    if null not in descriptors:
        os.close(null)
