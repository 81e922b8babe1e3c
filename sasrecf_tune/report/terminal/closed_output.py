"""Standard output and error that nobody reads: `| head -1`, `>&-`, a closed terminal. The command goes on."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import sys
from typing import TextIO

from typing_extensions import Buffer, override

_CLOSED = "standard output was closed: the rest of the output is discarded, and the command goes on\n"
# Pipes, sockets and terminals without a reader; a terminal closes without SIGHUP after `run & disown; exit`.
_GONE = (errno.EPIPE, errno.ECONNRESET, errno.EIO, errno.ENXIO)


def allow_closed_output() -> None:
    """Discard what is written to a pipe without a reader or a closed terminal; standard error says so."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:  # closed before this process began
            discard_output(number)
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))
            if number == 1 and sys.stderr is not None:
                sys.stderr.write(_CLOSED)
        elif type(stream) is io.TextIOWrapper and _may_close(number) and stream.fileno() == number:
            setattr(
                sys,
                name,
                io.TextIOWrapper(
                    io.BufferedWriter(_Output(number, "w", closefd=False)),
                    encoding=stream.encoding,
                    errors=stream.errors,
                    line_buffering=stream.line_buffering,
                ),
            )


class _Output(io.FileIO):
    """The writing end of a pipe whose reader may leave, or a terminal that may close."""

    @override
    def write(self, data: Buffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            number = self.fileno()
            discard_output(number)
            if number == 1:
                with contextlib.suppress(OSError):
                    os.write(2, _CLOSED.encode())
            return super().write(data)


def _may_close(number: int) -> bool:
    mode = os.fstat(number).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)


def discard_output(*descriptors: int) -> None:
    """Make each descriptor one that takes everything, and that no other file gets."""
    null = os.open(os.devnull, os.O_WRONLY)
    for number in descriptors:
        if number != null:
            os.dup2(null, number)
    if null not in descriptors:
        os.close(null)
