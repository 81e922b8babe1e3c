"""A directory for what one run alone needs."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def private_directory(path: Path) -> Iterator[Path | None]:
    """An empty directory that only this user can read, at `path`, gone when the block ends.

    What lies there, left by a process that was killed or by someone else, is removed and never used. None
    where that, or making the directory, is refused.
    """
    shutil.rmtree(path, ignore_errors=True)
    try:
        path.mkdir(mode=0o700, parents=True)
    except OSError:
        yield None
        return
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
