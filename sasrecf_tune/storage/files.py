"""Writes files so that neither a reader nor a crash leaves half of one."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from sasrecf_tune.errors import StorageError

# The temporary name of a file: mkstemp adds eight of these characters.
_TEMPORARY = re.compile(r"\..+\.(csv|md|html|json|yaml|result)\.[a-z0-9_]{8}")
RUN_AGAIN = "Then run the same command again: it continues the study."
DISK_FULL_FIX = f"Free space on that disk, or raise the limit. {RUN_AGAIN}"
NOT_WRITABLE_FIX = f"Check that the directory exists and is writable, or choose another one. {RUN_AGAIN}"
READ_ONLY_FIX = (
    "Make it and its directory writable (chmod, chattr -i, or mount the disk for writing), or choose another "
    f"directory. {RUN_AGAIN}"
)
# Messages of the system about files that this user may not change.
_READ_ONLY = tuple(map(os.strerror, (errno.EPERM, errno.EACCES, errno.EROFS)))
_IN_THE_WAY = f"Another file or directory has this name: move it away. {RUN_AGAIN}"
# Bytes of the largest file of a study that is read as a whole; a manifest has some 10 kB.
_MOST_BYTES = 1 << 26
NOT_REGULAR = "it is a link or not a regular file"
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), DISK_FULL_FIX),
    **dict.fromkeys((errno.EPERM, errno.EACCES, errno.EROFS), READ_ONLY_FIX),
    **dict.fromkeys((errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ELOOP), _IN_THE_WAY),
}


def atomic_write(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to a temporary name beside `path` and move it into place.

    The directory must exist: one that was removed during a search is not created again. A byte of a file name
    that is not UTF-8 becomes its escape in JSON and YAML, such as `\\udcff`.

    Raises:
        StorageError: it cannot be written; an earlier file of this name is unchanged.
    """
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:60]}.")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes the file private; results are for colleagues to read.
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
        temporary = ""
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        if temporary:
            remove([Path(temporary)])


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Give a file to write to, which becomes `path` when the block ends.

    A block that fails leaves `path` as it was. Only one process may write a path at a time. With `durable`
    the content is on disk at the end.

    Raises:
        OSError: It cannot be written.
    """
    # Not a random name: the next write replaces what a killed process left.
    temporary = path.with_name(f".{path.name}.part")
    try:
        with os.fdopen(open_own(temporary, os.O_WRONLY | os.O_TRUNC), "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def open_own(path: Path, flags: int, mode: int = 0o666) -> int:
    """Open a file of a study directory to write to it; a link or a device there is not followed.

    A study directory may come from someone else, and its links may lead to files of this user.

    Args:
        flags: As for os.open; the file is created if it does not exist.

    Returns:
        The file descriptor.

    Raises:
        OSError: It cannot be opened, or it is not a regular file.
    """
    # Without O_NONBLOCK a FIFO waits for a reader.
    flags |= os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(path, flags, mode)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise OSError(errno.ELOOP, NOT_REGULAR, str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.ELOOP, NOT_REGULAR, str(path))
    os.set_blocking(handle, True)
    return handle


def read_own(path: Path) -> str:
    """Read a text file (UTF-8) of a study directory, which may come from someone else.

    Raises:
        OSError: It cannot be read, is not a regular file, or is larger than any that a run writes.
        UnicodeDecodeError: It is not UTF-8.
    """
    with os.fdopen(open_regular(path), encoding="utf-8", newline="") as file:
        return file.read()


def open_regular(path: Path, most: int = _MOST_BYTES, flags: int = 0) -> int:
    """Open a file of a study directory, which may come from someone else, to read it as a whole.

    Args:
        most: Bytes of the largest file that a run writes.
        flags: As for os.open, besides those for reading.

    Returns:
        The file descriptor.

    Raises:
        OSError: It cannot be opened, is not a regular file (EINVAL), or is larger (EFBIG).
    """
    # Without O_NONBLOCK a FIFO waits for a writer.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        check_size(handle, path, most)
    except OSError:
        os.close(handle)
        raise
    return handle


def check_size(handle: int, path: Path, most: int = _MOST_BYTES) -> None:
    """Check that a file of a study directory, which may come from someone else, can be read as a whole.

    Raises:
        OSError: It is larger than any that a run writes.
    """
    if os.fstat(handle).st_size > most:
        raise OSError(errno.EFBIG, f"it is larger than {most >> 20} MiB", str(path))


def append_line(path: Path, line: str) -> None:
    """Append one line, and sync it to disk.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        handle = open_own(path, os.O_WRONLY | os.O_APPEND)
        with os.fdopen(handle, "a", encoding="utf-8", errors="backslashreplace", newline="") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise disk_error(path, error) from error


def refuse_links(directory: Path, why: str) -> None:
    """Check that there are no links in a study directory; `why` says what would happen to what they lead to.

    Raises:
        StorageError: there is one.
    """
    for link in links_in(directory):
        refuse_link(link, why)


def refuse_link(path: Path, why: str) -> None:
    """Check that a file of a study directory is no link; as `refuse_links`.

    Raises:
        StorageError: it is one.
    """
    if path.is_symlink():
        raise StorageError(
            f"this link in the study directory leads elsewhere, and {why}",
            where=str(path),
            fix="Replace it by what it leads to. The study directory itself, or --out, may be a link.",
        )


def links_in(directory: Path) -> list[Path]:
    """The links in a study directory, at any depth."""
    found: list[Path] = []
    for place, folders, files in os.walk(directory):
        found += [path for path in map(Path(place).joinpath, [*folders, *files]) if path.is_symlink()]
    return sorted(found)


def temporary_files(directory: Path) -> list[Path]:
    """Result files in `directory` that are half written: by killed processes, or by others at this moment."""
    return [path for path in directory.glob(".*") if _TEMPORARY.fullmatch(path.name)]


def remove(paths: Iterable[Path]) -> None:
    """Remove files, and directories with their content; skip what is gone or cannot be removed."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
            continue
        with contextlib.suppress(OSError):
            path.unlink()


def make_directory(path: Path) -> None:
    """Create `path` and its missing parents.

    Raises:
        StorageError: it cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(path, error) from error


def disk_error(path: Path, error: OSError) -> StorageError:
    """The error for people that says why `path` cannot be written."""
    return StorageError(
        f"cannot write: {error.strerror or error}",
        where=str(path),
        fix=_REMEDIES.get(error.errno or 0, NOT_WRITABLE_FIX),
    )


def output_error(path: Path, error: OSError) -> StorageError:
    """As `disk_error`, for a file by which no study is continued."""
    found = disk_error(path, error)
    return StorageError(found.what, where=found.where, fix=found.fix.removesuffix(RUN_AGAIN).strip())


def disk_fix(reason: str) -> str:
    """What to do about an error of a disk whose message is `reason`."""
    if any(text in reason for text in _READ_ONLY):
        return READ_ONLY_FIX
    return f"Free space on that disk, or make it writable. {RUN_AGAIN}"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def private_directory(path: Path) -> Iterator[Path | None]:
    """Create an empty directory at `path` that only this user can read; remove it when the block ends.

    What is there already, from a killed process or someone else, is removed and never used. Yields None if
    that, or creating the directory, is not possible.
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
