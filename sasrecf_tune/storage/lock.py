"""Locks a study directory for one run or for several, and cleans up after runs that were refused."""

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
from sasrecf_tune.storage.files import disk_error, open_own

_SHARE = "Several runs can work on a study in a server's database: --storage postgresql://USER@HOST/DATABASE"
# How long a run may take to tidy up, which it does alone.
_TIDY_SECONDS = 10.0
# A file of this age is in use by no run, even one on another machine: no file is half written for a day.
_OLD_SECONDS = 86400.0


class _UnsupportedError(Exception):
    """The file system does not support locks."""


@contextlib.contextmanager
def exclusive(study_dir: StudyDirectory, required: bool = True) -> Iterator[None]:
    """Lock the study for one coordinator; the system releases it however the process ends.

    Unless it is `required`, a file system without locks is no error.

    A directory that is created here is removed again when the input is refused, or the run is stopped, before
    it has a study.

    Raises:
        StorageError: another coordinator is using it, or the directory cannot be written or locked.
    """
    with _open_lock_file(study_dir) as handle:
        try:
            taken = _try_lock(handle, fcntl.LOCK_EX)
        except _UnsupportedError as error:
            if not required:
                yield
                return
            raise StorageError(
                f"this file system does not support locks (flock: {error}), which keep two runs apart",
                where=str(study_dir.directory),
                fix=f"Give --out a directory on another file system. {_SHARE}, wherever its directory is.",
            ) from error
        if not taken:
            raise _in_use(study_dir, handle)
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise disk_error(study_dir.lock, error) from error
        yield


def check_unlocked(study_dir: StudyDirectory) -> None:
    """Find out whether a run is using the study now; nothing is changed.

    Raises:
        StorageError: a run is using it.
    """
    try:
        handle = os.open(study_dir.lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return  # nobody has locked it, or nobody can
    try:
        with contextlib.suppress(_UnsupportedError):
            if not _try_lock(handle, fcntl.LOCK_EX):
                raise _in_use(study_dir, handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def shared(study_dir: StudyDirectory, tidy: Callable[[], None]) -> Iterator[None]:
    """Share the study's directory with other coordinators of a study in a server's database.

    `tidy` is called first if there are none, as far as this machine knows: the locks of a file system may be
    local to each machine, or missing. So `tidy` must leave alone what others could be writing.

    Raises:
        StorageError: a run has locked the directory for itself, or it cannot be written.
    """
    with _open_lock_file(study_dir) as handle:
        try:
            _share(handle, study_dir, tidy)
        except _UnsupportedError:
            tidy()
        yield


def abandoned(study_dir: StudyDirectory, paths: Iterable[Path]) -> list[Path]:
    """Those of `paths` that no run is writing or using.

    Prepared data has the machine and process that it belongs to in its name. A process of this machine can be
    checked; everything else is abandoned when it is a day old.
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
        if not tidied and _try_lock(handle, fcntl.LOCK_EX):
            tidy()
            os.ftruncate(handle, 0)
            tidied = True
        # The system releases the exclusive lock first: another process may come between.
        if _try_lock(handle, fcntl.LOCK_SH):
            return
        if time.monotonic() > until:  # nobody tidies up for so long
            raise StorageError(
                "a run without --storage is using this study",
                where=str(study_dir.directory),
                fix="Give that run the same --storage, or this one another --study name.",
            )
        time.sleep(0.05)


@contextlib.contextmanager
def _open_lock_file(study_dir: StudyDirectory) -> Iterator[int]:
    """Open the file that is locked."""
    try:
        made = [path for path in (study_dir.directory, *study_dir.directory.parents) if not path.exists()]
        study_dir.directory.mkdir(parents=True, exist_ok=True)
        handle = open_own(study_dir.lock, os.O_RDWR)
    except OSError as error:
        where = study_dir.lock if error.errno == errno.ELOOP else study_dir.directory
        raise disk_error(where, error) from error
    try:
        try:
            yield handle
        except (InputError, KeyboardInterrupt):
            begun = study_dir.manifest.exists() or study_dir.database.exists()
            with contextlib.suppress(_UnsupportedError):  # then others may use the directory, and it stays
                if made and not begun and _try_lock(handle, fcntl.LOCK_EX):
                    _remove_empty(study_dir, made)
            raise
    finally:
        os.close(handle)


def _in_use(study_dir: StudyDirectory, handle: int) -> StorageError:
    other = os.read(handle, 32).decode(errors="replace").strip()
    return StorageError(
        f"another run is using this study (process {other or 'unknown'})",
        where=str(study_dir.directory),
        fix=f"Wait for it or stop it; meanwhile `sasrecf-tune report` shows its results. {_SHARE}",
    )


def _try_lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN):
            return False
        raise _UnsupportedError(error.strerror or str(error)) from error
    return True


def _remove_empty(study_dir: StudyDirectory, made: Sequence[Path]) -> None:
    """Remove the directories `made`, innermost first, with what a run writes before there is a study."""
    shutil.rmtree(study_dir.logs, ignore_errors=True)
    with contextlib.suppress(OSError):  # something else was put there
        study_dir.lock.unlink()
        for path in made:
            path.rmdir()
