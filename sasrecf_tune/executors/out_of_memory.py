"""Recognizes a worker that lacked memory: libraries that get none raise other errors, or end the process."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from pathlib import Path

from sasrecf_tune.errors import causes

_LOG_TAIL = 10_000
# What Python, the loader of libraries and those say that get no memory, or no thread, which takes some.
_NO_MEMORY = re.compile(
    r"allocate memory|memory allocation|out of memory|enough memory|failed to map segment|bad_alloc"
    r"|start new thread",
    re.IGNORECASE,
)
MORE_MEMORY = (
    "Raise the limit (ulimit -v, of the container or of the scheduler), use fewer --workers, or end other "
    "programs."
)


def lacks_memory(error: BaseException) -> bool:
    """Return whether an error, or one that it was raised from, means that there was no memory."""
    return any(
        isinstance(each, MemoryError)
        or getattr(each, "errno", None) == errno.ENOMEM
        or _NO_MEMORY.search(str(each)) is not None
        for each in causes(error)
    )


def after_death(log: Path) -> str:
    """Return what to do about a worker that died without a message, which `log` may explain.

    A library that gets no memory ends the process, in its own words or in none.
    """
    import resource  # not on Windows

    said = ""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_TAIL))
        said = file.read(_LOG_TAIL).decode(errors="replace")
    limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
    little = limited or _NO_MEMORY.search(said) is not None
    return f"{f'There may be too little memory. {MORE_MEMORY} ' if little else ''}Its log: {log}"
