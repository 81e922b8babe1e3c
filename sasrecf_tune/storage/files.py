"""Writing files so that a reader, or a crash, never sees half of one."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from sasrecf_tune.errors import StorageError

# A file's temporary name: mkstemp adds eight of these characters.
_UNFINISHED = re.compile(r"\..+\.(csv|md|html|json|yaml|result)\.[a-z0-9_]{8}")
AGAIN = "Then run the same command again: it goes on where the study was."
FULL = f"Free space on that disk, or raise the limit. {AGAIN}"
NO_RIGHTS = f"Check that the directory is there and may be written, or choose another. {AGAIN}"
MEND = f"Free space on that disk, or see to it that it may be written. {AGAIN}"
_IN_THE_WAY = f"Something else stands in its place: move it away. {AGAIN}"
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), FULL),
    **dict.fromkeys((errno.EISDIR, errno.ENOTDIR, errno.EEXIST), _IN_THE_WAY),
}


def atomic_write(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to a temporary name beside `path` and move it into place.

    The directory must be there: one that was removed during a search is not made anew.

    Raises:
        StorageError: the disk refused; what `path` held before is untouched.
    """
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:60]}.")
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes the file private; results are for colleagues to read.
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        raise disk_error(path, error) from error


def append_line(path: Path, line: str) -> None:
    """Append one line and see it on disk.

    Raises:
        StorageError: the disk refused.
    """
    try:
        with path.open("a", encoding="utf-8", newline="") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise disk_error(path, error) from error


def unfinished(directory: Path) -> list[Path]:
    """What processes that were killed left of files they were writing to `directory`: results only.

    And what others are writing there now.
    """
    return [path for path in directory.glob(".*") if _UNFINISHED.fullmatch(path.name)]


def remove(paths: Iterable[Path]) -> None:
    """Remove files, and directories with all in them; what cannot be removed, or is gone, is passed over."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
            continue
        with contextlib.suppress(OSError):
            path.unlink()


def make_directory(path: Path) -> None:
    """Make `path` and what is missing above it.

    Raises:
        StorageError: the disk refused.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(path, error) from error


def disk_error(path: Path, error: OSError) -> StorageError:
    """What the system said about `path`, for people."""
    return StorageError(
        f"cannot write: {error.strerror or error}",
        where=str(path),
        fix=_REMEDIES.get(error.errno or 0, NO_RIGHTS),
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


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
