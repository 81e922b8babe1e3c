"""Replaces a directory as a whole: a reader, or a crash, finds the old one or the complete new one."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

from sasrecf_tune.storage.files import output_error, remove

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # also RENAME_SWAP of macOS


@contextlib.contextmanager
def staging_directory(target: Path) -> Iterator[Path]:
    """Create an empty directory beside `target`, for `replace_directory`; remove it when the block ends.

    What killed processes have left there is removed, too. A process holds a lock on its own.

    Raises:
        StorageError: It cannot be created.
    """
    prefix = f".{target.name}."
    for left in target.parent.glob(f"{prefix}*.new"):
        with contextlib.suppress(OSError), _locked(left):
            remove([left])
    try:
        path = target.with_name(f"{prefix}{uuid.uuid4().hex[:8]}.new")
        path.mkdir()
    except OSError as error:
        raise output_error(target, error) from error
    try:
        with _locked(path):
            yield path
    finally:
        remove([path])


def replace_directory(new: Path, target: Path) -> None:
    """Move the directory `new`, which has files only, to `target`; one that is there is removed.

    All is on disk before the names change, and they are when this returns.

    Where the file system cannot exchange two names at once, there is a moment without `target`.

    Raises:
        OSError: It cannot be moved.
    """
    for path in (*new.iterdir(), new):
        _sync(path)
    if not target.exists() and not target.is_symlink():
        new.rename(target)
        _sync(target.parent)
        return
    try:
        _exchange(new, target)
        old = new
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
            raise
        old = new.with_name(f"{new.name[: -len('.new')]}.old.new")
        target.rename(old)
        new.rename(target)
    _sync(target.parent)
    remove([old])


def _exchange(one: Path, other: Path) -> None:
    """Exchange the names of two directories in one step (renameat2 of Linux, renamex_np of macOS)."""
    library = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if sys.platform == "darwin":
        failed = library.renamex_np(*names, _RENAME_EXCHANGE)
    elif hasattr(library, "renameat2"):
        failed = library.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
    else:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(other))


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a directory, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold a lock on a directory.

    Raises:
        OSError: Another process holds it, or it is a link.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
