"""Copies logs, checkpoints and metrics of users from a worker's node to the coordinator's study directory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.files import disk_error, open_own, remove, replacing


@dataclass(frozen=True)
class FileChanges:
    """What was written since the last call, by file name: additions to logs, and whole other files."""

    logs: dict[str, bytes] = field(default_factory=dict)
    checkpoints: dict[str, bytes] = field(default_factory=dict)
    per_user: dict[str, bytes] = field(default_factory=dict)


class FileSync:
    """Collects the changes in the study directory of one worker on its node."""

    def __init__(self, study_dir: StudyDirectory) -> None:
        self._study_dir = study_dir
        self._log_sizes: dict[str, int] = {}  # bytes that were collected
        self._versions: dict[str, tuple[int, int]] = {}  # inode and time of other files

    def collect(self) -> FileChanges:
        """Return the changes since the last call."""
        logs: dict[str, bytes] = {}
        for path in sorted(self._study_dir.logs.glob("*.log")):
            with path.open("rb") as file:
                file.seek(self._log_sizes.get(path.name, 0))
                if added := file.read():
                    logs[path.name] = added
                    self._log_sizes[path.name] = file.tell()
        whole = (self._study_dir.checkpoints, self._study_dir.per_user_directory)
        return FileChanges(logs, *map(self._changed, whole))

    def _changed(self, directory: Path) -> dict[str, bytes]:
        changed: dict[str, bytes] = {}
        # The name of an incomplete file starts with a dot.
        for path in sorted(directory.glob("[!.]*")):
            version = _version(path)
            if self._versions.get(path.name) != version:
                changed[path.name] = path.read_bytes()
                self._versions[path.name] = version
        return changed

    def receive(self, path: Path, content: bytes) -> None:
        """Write a checkpoint of the coordinator, which is not sent back."""
        path.write_bytes(content)
        self._versions[path.name] = _version(path)

    def delete(self, paths: Iterable[Path]) -> None:
        """Delete collected files that are no longer needed."""
        for path in paths:
            self._log_sizes.pop(path.name, None)
            self._versions.pop(path.name, None)
            remove([path])


def _version(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns


def apply_changes(study_dir: StudyDirectory, changes: FileChanges) -> None:
    """Write `changes` to a study directory; a file is replaced as a whole or not at all.

    Raises:
        StorageError: A file cannot be written.
    """
    for name, added in changes.logs.items():
        with (
            _disk_errors(study_dir.logs / name) as path,
            os.fdopen(open_own(path, os.O_WRONLY | os.O_APPEND), "ab") as log,
        ):
            log.write(added)
    whole = {study_dir.checkpoints / name: content for name, content in changes.checkpoints.items()}
    whole |= {study_dir.per_user_directory / name: content for name, content in changes.per_user.items()}
    for target, content in whole.items():
        with _disk_errors(target) as path, replacing(path) as file:
            file.write(content)


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[Path]:
    """Create the parent directory of `path`, and convert an OSError of the block to a StorageError."""
    try:
        path.parent.mkdir(exist_ok=True)  # not the study directory, which the user may have removed
        yield path
    except OSError as error:
        raise disk_error(path, error) from error
