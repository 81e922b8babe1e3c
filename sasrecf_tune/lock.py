"""One run at a time on a study, and nothing left behind by a run that was refused."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from sasrecf_tune.errors import InputError, StorageError
from sasrecf_tune.files import disk_error
from sasrecf_tune.layout import Layout


@contextlib.contextmanager
def exclusive(layout: Layout) -> Iterator[None]:
    """Hold the study for one coordinator; the system lets go of it however the process ends.

    A directory that is made here goes away again when the input is refused, or the run is stopped, before it
    holds a study.

    Raises:
        StorageError: another coordinator is at work on it, or the directory cannot be written.
    """
    try:
        made = [path for path in (layout.directory, *layout.directory.parents) if not path.exists()]
        layout.directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise disk_error(layout.directory, error) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            other = os.read(handle, 32).decode(errors="replace").strip()
            raise StorageError(
                f"another run is at work on this study (process {other or 'unknown'})",
                where=str(layout.directory),
                fix="Wait for it or stop it; `sasrecf-tune report` shows its results meanwhile.",
            ) from error
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise disk_error(layout.lock, error) from error
        try:
            yield
        except (InputError, KeyboardInterrupt):
            if made and not layout.manifest.exists() and not layout.database.exists():
                _remove_empty(layout, made)
            raise
    finally:
        os.close(handle)


def _remove_empty(layout: Layout, made: Sequence[Path]) -> None:
    """Remove the directories `made`, innermost first, and what a run leaves there before there is a study."""
    shutil.rmtree(layout.logs, ignore_errors=True)
    with contextlib.suppress(OSError):  # something else has come to lie there
        layout.lock.unlink()
        for path in made:
            path.rmdir()
