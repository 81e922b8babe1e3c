"""Who may work in a study directory, and nothing left behind by a run that was refused."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sasrecf_tune.errors import InputError, StorageError
from sasrecf_tune.files import disk_error
from sasrecf_tune.layout import Layout

SEVERAL = "Several runs can work on one study that a server's database holds: --storage postgresql://USER@HOST/DATABASE"
# So long a run may take that is alone to tidy up.
_TIDY_SECONDS = 10.0


@contextlib.contextmanager
def exclusive(layout: Layout) -> Iterator[None]:
    """Hold the study for one coordinator; the system lets go of it however the process ends.

    A directory that is made here goes away again when the input is refused, or the run is stopped, before it
    holds a study.

    Raises:
        StorageError: another coordinator is at work on it, or the directory cannot be written.
    """
    with _opened(layout) as handle:
        if not _take(handle, fcntl.LOCK_EX):
            other = os.read(handle, 32).decode(errors="replace").strip()
            raise StorageError(
                f"another run is at work on this study (process {other or 'unknown'})",
                where=str(layout.directory),
                fix=f"Wait for it or stop it; `sasrecf-tune report` shows its results meanwhile. {SEVERAL}",
            )
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise disk_error(layout.lock, error) from error
        yield


@contextlib.contextmanager
def among_others(layout: Layout, tidy: Callable[[], None]) -> Iterator[None]:
    """Work in the study's directory beside other coordinators of a study that a server's database holds.

    `tidy` is called first when there are none: it may remove what others would be writing.

    Raises:
        StorageError: a run that wants the directory for itself is at work, or it cannot be written.
    """
    with _opened(layout) as handle:
        until = time.monotonic() + _TIDY_SECONDS
        while True:
            if _take(handle, fcntl.LOCK_EX):
                tidy()
                os.ftruncate(handle, 0)
                _take(handle, fcntl.LOCK_SH)
                break
            if _take(handle, fcntl.LOCK_SH):
                break
            if time.monotonic() > until:  # so long nobody tidies up
                raise StorageError(
                    "a run that keeps this study in the directory itself is at work on it",
                    where=str(layout.directory),
                    fix="Give that one the same --storage, or this one another --study name.",
                )
            time.sleep(0.05)
        yield


@contextlib.contextmanager
def _opened(layout: Layout) -> Iterator[int]:
    """The file that the lock is on."""
    try:
        made = [path for path in (layout.directory, *layout.directory.parents) if not path.exists()]
        layout.directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise disk_error(layout.directory, error) from error
    try:
        try:
            yield handle
        except (InputError, KeyboardInterrupt):
            begun = layout.manifest.exists() or layout.database.exists()
            if made and not begun and _take(handle, fcntl.LOCK_EX):
                _remove_empty(layout, made)
            raise
    finally:
        os.close(handle)


def _take(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_empty(layout: Layout, made: Sequence[Path]) -> None:
    """Remove the directories `made`, innermost first, and what a run leaves there before there is a study."""
    shutil.rmtree(layout.logs, ignore_errors=True)
    with contextlib.suppress(OSError):  # something else has come to lie there
        layout.lock.unlink()
        for path in made:
            path.rmdir()
