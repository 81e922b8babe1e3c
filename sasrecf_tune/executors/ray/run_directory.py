"""A temporary directory on a node that the workers of one run share."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sasrecf_tune.errors import StorageError
from sasrecf_tune.storage.files import disk_error


@contextlib.contextmanager
def run_directory(name: str) -> Iterator[Path]:
    """Create or join the directory of a run; it is deleted when the last process leaves the block.

    Directories of earlier runs whose processes were all killed are deleted, too.

    Raises:
        StorageError: It cannot be created, or other users can write to it.
    """
    parent = Path(tempfile.gettempdir()) / f"sasrecf-tune-{os.getuid()}"
    try:
        parent.mkdir(mode=0o700, exist_ok=True)
        found = parent.lstat()
    except OSError as error:
        raise disk_error(parent, error) from error
    # It contains prepared data, which is read as a pickle.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StorageError(
            "other users can write to it, or it is not a directory", where=str(parent), fix="Move it away."
        )
    for lock in parent.glob("*.lock"):
        _delete_if_unused(lock)
    directory, lock = parent / name, parent / f"{name}.lock"
    try:
        handle = _acquire_shared(lock)
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise disk_error(directory, error) from error
    try:
        yield directory
    finally:
        os.close(handle)
        _delete_if_unused(lock)


def _acquire_shared(lock: Path) -> int:
    """Acquire the lock together with other processes; the system releases it however the process ends."""
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(handle, fcntl.LOCK_SH)
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(handle).st_ino == lock.stat().st_ino:
                return handle
        os.close(handle)  # the file was deleted in the meantime


def _delete_if_unused(lock: Path) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(lock, os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink()
        finally:
            os.close(handle)
