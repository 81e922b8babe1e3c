"""Writes the files of a data set as a whole: a killed process leaves the old ones or all of the new ones."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from sasrecf_tune.errors import InputError, StorageError
from sasrecf_tune.storage.files import RUN_AGAIN, disk_error, make_directory

_EXCHANGE = 2  # RENAME_EXCHANGE of linux/fs.h, and RENAME_SWAP of macOS
_HERE = -100  # AT_FDCWD


def check_target(directory: Path, force: bool) -> None:
    """Check that the files of a data set may be written to `directory`.

    Raises:
        InputError: It exists, and may not be replaced.
    """
    if not os.path.lexists(directory):
        return
    if directory.is_symlink() or not directory.is_dir():
        raise InputError("a file or a link has this name", where=str(directory), fix="Choose another --out.")
    names = sorted(path.name for path in directory.iterdir())
    own = {f"{directory.name}.{suffix}" for suffix in ("inter", "item", "yaml")}
    if others := [name for name in names if name not in own]:
        raise InputError(
            f"it has files that are not of an import: {', '.join(others[:5])}",
            where=str(directory),
            fix="Move them away, or choose another --out.",
        )
    if names and not force:
        raise InputError(
            "the data set exists",
            where=str(directory),
            fix="Replace it with --force, or choose another --out.",
        )


def write_directory(directory: Path, files: Mapping[str, Iterable[str]]) -> None:
    """Write `files` (name -> pieces of text) to `directory`, all of them or none.

    They are written to a directory beside it, which then takes its place.

    Raises:
        StorageError: They cannot be written.
    """
    try:
        make_directory(directory.parent)
        _remove_leftovers(directory)
        with _working_directory(directory) as working:
            for name, pieces in files.items():
                with (working / name).open("x", encoding="utf-8", newline="") as file:
                    file.writelines(pieces)
                    file.flush()
                    os.fsync(file.fileno())
            working.chmod(0o777 & ~_umask())
            _sync(working)
            _move(working, directory)
            _sync(directory.parent)
    except OSError as error:
        raise _without_study(disk_error(directory, error)) from error
    except StorageError as error:
        raise _without_study(error) from error


def _without_study(error: StorageError) -> StorageError:
    # No study is continued by the same command.
    return StorageError(error.what, where=error.where, fix=error.fix.removesuffix(RUN_AGAIN).strip())


@contextlib.contextmanager
def _working_directory(directory: Path) -> Iterator[Path]:
    """A new directory beside `directory`, locked while it is in use; what is there at the end is removed."""
    working = Path(tempfile.mkdtemp(prefix=_prefix(directory), dir=directory.parent))
    handle = os.open(working, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield working
    finally:
        os.close(handle)
        shutil.rmtree(working, ignore_errors=True)


def _prefix(directory: Path) -> str:
    return f".{directory.name}.import-"


def _remove_leftovers(directory: Path) -> None:
    """Remove what killed imports of this name have left; that of one that runs is locked."""
    for path in directory.parent.iterdir():
        if not path.name.startswith(_prefix(directory)) or path.is_symlink():
            continue
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(handle)


def _move(working: Path, directory: Path) -> None:
    """Put `working` in the place of `directory`, which is then at `working` if it has existed."""
    try:
        working.rename(directory)  # replaces an empty directory
        return
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    if _exchange(working, directory):
        return
    # A file system without an exchange, as some network file systems: for a moment there is none of the two.
    old = working.with_name(f"{working.name}-old")
    directory.rename(old)
    working.rename(directory)
    shutil.rmtree(old, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two directories in one step; False where the system cannot."""
    library = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(first), os.fsencode(second)
    if sys.platform == "darwin":
        call = getattr(library, "renamex_np", None)
        return call is not None and call(*names, _EXCHANGE) == 0
    call = getattr(library, "renameat2", None)
    return call is not None and call(_HERE, names[0], _HERE, names[1], _EXCHANGE) == 0


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
