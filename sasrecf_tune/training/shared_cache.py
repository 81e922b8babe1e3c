"""Prepared data in files: created by one worker of a run, mapped into memory by all of them."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import torch

from sasrecf_tune.messages import Waiting
from sasrecf_tune.training import torch_files

_log = logging.getLogger(__name__)

T = TypeVar("T")


def _held(directory: Path) -> Path:
    """Return a path to `directory` that stays the same directory when someone renames or replaces it.

    Raises:
        PermissionError: Others may write to it, or it belongs to someone else.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    found = os.fstat(handle)
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        os.close(handle)
        raise PermissionError(f"{directory} is not private")
    by_handle = Path(f"/proc/self/fd/{handle}")  # on Linux; it stays open as long as the process
    return by_handle if by_handle.exists() else directory


class SharedCache(Generic[T]):
    """Keeps objects with tensors in files, by key.

    The files are pickles, so the directory must belong to this run and be writable for this user alone.
    Tensors are mapped privately: all processes share their pages of memory, and one that writes to a page
    gets a copy.

    Args:
        directory: The directory of the files.
        on_waiting: Called when this process starts and stops waiting for another one.
    """

    def __init__(self, directory: Path, on_waiting: Callable[[Waiting], None] = lambda _: None) -> None:
        self._directory: Path | None = None
        try:
            self._directory = _held(directory)
        except OSError as error:
            self._warn(error)
        self._on_waiting = on_waiting

    def get(self, key: str, make: Callable[[], T]) -> T:
        """Return the object of `key`; `make` creates it if no process has done so.

        Other processes wait meanwhile. If the creating process is killed, the next one creates it. If the
        file cannot be written or read, each process creates its own object.
        """
        if self._directory is None:
            return make()
        path = self._directory / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.pt"
        try:
            lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            return self._use_own(make(), error)
        try:
            self._acquire(lock)
            if not path.exists():
                made = make()
                try:
                    torch_files.save(path, made, durable=False)
                except Exception as error:  # noqa: BLE001  # a full disk, or an object that cannot be pickled
                    return self._use_own(made, error)
                # This process uses the file too, so that it shares the memory.
                del made
                _log.info("The data was prepared for all workers (%.1f MB)", path.stat().st_size / 1e6)
        finally:
            os.close(lock)
        try:
            return self._load(path)
        except Exception as error:  # noqa: BLE001  # torch can raise anything
            return self._use_own(make(), error)

    def _acquire(self, lock: int) -> None:
        """Acquire the lock; the system releases it however the process ends."""
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._on_waiting(Waiting(over=False))
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._on_waiting(Waiting(over=True))

    def _load(self, path: Path) -> T:
        if path.stat().st_uid != os.getuid():
            raise PermissionError(f"{path} belongs to someone else")
        found: T = torch.load(path, mmap=True, weights_only=False)
        return found

    def _use_own(self, made: T, error: Exception) -> T:
        self._warn(error)
        return made

    def _warn(self, error: Exception) -> None:
        _log.warning("The prepared data is used by this worker only, because it cannot be shared (%s)", error)
