"""Prepared data in files, for the workers of one run: made by one of them, mapped into memory by all."""

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


class SharedData(Generic[T]):
    """Objects with tensors, by key, in `directory`, which this run made and only this user can write to.

    The files are pickles: that is why. Their tensors are mapped privately, so that all processes read the
    same pages of memory, and one that writes to a tensor has a copy of that page for itself.

    `tell` hears when this process begins to wait for another, and when it has waited.
    """

    def __init__(self, directory: Path, tell: Callable[[Waiting], None] = lambda _: None) -> None:
        self._directory = directory
        self._tell = tell

    def get(self, key: str, make: Callable[[], T]) -> T:
        """What another process made for `key`, or else `make()`, left for the others.

        While one process makes it, the others wait; when that one is killed, the next takes over. Where the
        disk refuses, each process makes its own.
        """
        path = self._directory / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.pt"
        try:
            lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            return self._alone(make(), error)
        try:
            self._take(lock)
            if not path.exists():
                made = make()
                try:
                    torch_files.save(path, made, durable=False)
                except Exception as error:  # noqa: BLE001  # a full disk, or what cannot be pickled
                    return self._alone(made, error)
                # The copy in the file takes its place, so that this process shares memory too.
                del made
                _log.info("The data was prepared for all workers (%.1f MB)", path.stat().st_size / 1e6)
        finally:
            os.close(lock)
        try:
            return self._load(path)
        except Exception as error:  # noqa: BLE001  # whatever torch stumbles on
            return self._alone(make(), error)

    def _take(self, lock: int) -> None:
        """Take the lock, which the system lets go of however the process ends."""
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._tell(Waiting(over=False))
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._tell(Waiting(over=True))

    def _load(self, path: Path) -> T:
        if path.stat().st_uid != os.getuid():
            raise PermissionError(f"{path} belongs to someone else")
        found: T = torch.load(path, mmap=True, weights_only=False)
        return found

    def _alone(self, made: T, error: Exception) -> T:
        _log.warning("The data was prepared for this worker alone: it cannot be shared (%s)", error)
        return made
