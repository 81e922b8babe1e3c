"""Who may work in a study directory, and nothing left behind by a run that was refused."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from sasrecf_tune.environment import host_name
from sasrecf_tune.errors import InputError, StorageError
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.files import disk_error

SEVERAL = "Several runs can work on one study that a server's database holds: --storage postgresql://USER@HOST/DATABASE"
# So long a run may take that is alone to tidy up.
_TIDY_SECONDS = 10.0
# What a run left that cannot be asked is nobody's any more after so long: no file is half written for a day.
_OLD_SECONDS = 86400.0


class _UnsupportedError(Exception):
    """The file system has no locks."""


@contextlib.contextmanager
def exclusive(study_dir: StudyDirectory) -> Iterator[None]:
    """Hold the study for one coordinator; the system lets go of it however the process ends.

    A directory that is made here goes away again when the input is refused, or the run is stopped, before it
    holds a study.

    Raises:
        StorageError: another coordinator is at work on it, or the directory cannot be written or locked.
    """
    with _opened(study_dir) as handle:
        try:
            taken = _take(handle, fcntl.LOCK_EX)
        except _UnsupportedError as error:
            raise StorageError(
                f"this file system has no locks (flock: {error}), and two runs on one study would ruin it",
                where=str(study_dir.directory),
                fix=f"Give --out a directory on another file system. {SEVERAL}, wherever its directory is.",
            ) from error
        if not taken:
            other = os.read(handle, 32).decode(errors="replace").strip()
            raise StorageError(
                f"another run is at work on this study (process {other or 'unknown'})",
                where=str(study_dir.directory),
                fix=f"Wait for it or stop it; `sasrecf-tune report` shows its results meanwhile. {SEVERAL}",
            )
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise disk_error(study_dir.lock, error) from error
        yield


@contextlib.contextmanager
def among_others(study_dir: StudyDirectory, tidy: Callable[[], None]) -> Iterator[None]:
    """Work in the study's directory beside other coordinators of a study that a server's database holds.

    `tidy` is called first when there are none here, as far as this machine knows: a file system's locks may
    be each machine's own, or it may have none. So it must leave alone what others could be writing.

    Raises:
        StorageError: a run that wants the directory for itself is at work, or it cannot be written.
    """
    with _opened(study_dir) as handle:
        try:
            _share(handle, study_dir, tidy)
        except _UnsupportedError:
            tidy()
        yield


def abandoned(study_dir: StudyDirectory, paths: Iterable[Path]) -> list[Path]:
    """Those of `paths` that no run is writing or using.

    Prepared data tells by its name whose it is: its process was of this machine, and is gone. Of others that
    is known when they are a day old.
    """
    here = f"{study_dir.prepared.name}-{host_name()}"
    return [path for path in paths if _abandoned(path, here)]


def _abandoned(path: Path, here: str) -> bool:
    whose, _, process = path.name.rpartition("-")
    try:
        if whose == here and process.isdecimal():
            os.kill(int(process), 0)
            return False
        return path.lstat().st_mtime < time.time() - _OLD_SECONDS
    except ProcessLookupError:
        return True
    except OSError:
        return False


def _share(handle: int, study_dir: StudyDirectory, tidy: Callable[[], None]) -> None:
    until = time.monotonic() + _TIDY_SECONDS
    tidied = False
    while True:
        if not tidied and _take(handle, fcntl.LOCK_EX):
            tidy()
            os.ftruncate(handle, 0)
            tidied = True
        # The lock that is held is let go of first: another may come between.
        if _take(handle, fcntl.LOCK_SH):
            return
        if time.monotonic() > until:  # so long nobody tidies up
            raise StorageError(
                "a run that keeps this study in the directory itself is at work on it",
                where=str(study_dir.directory),
                fix="Give that one the same --storage, or this one another --study name.",
            )
        time.sleep(0.05)


@contextlib.contextmanager
def _opened(study_dir: StudyDirectory) -> Iterator[int]:
    """The file that the lock is on."""
    try:
        made = [path for path in (study_dir.directory, *study_dir.directory.parents) if not path.exists()]
        study_dir.directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(study_dir.lock, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise disk_error(study_dir.directory, error) from error
    try:
        try:
            yield handle
        except (InputError, KeyboardInterrupt):
            begun = study_dir.manifest.exists() or study_dir.database.exists()
            with contextlib.suppress(_UnsupportedError):  # then others may be at work here, and it stays
                if made and not begun and _take(handle, fcntl.LOCK_EX):
                    _remove_empty(study_dir, made)
            raise
    finally:
        os.close(handle)


def _take(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN):
            return False
        raise _UnsupportedError(error.strerror or str(error)) from error
    return True


def _remove_empty(study_dir: StudyDirectory, made: Sequence[Path]) -> None:
    """Remove the directories `made`, innermost first, and what a run leaves there before there is a study."""
    shutil.rmtree(study_dir.logs, ignore_errors=True)
    with contextlib.suppress(OSError):  # something else has come to lie there
        study_dir.lock.unlink()
        for path in made:
            path.rmdir()
