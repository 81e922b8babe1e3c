"""The logs and checkpoints that a worker writes on another machine, and how they come home."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.files import disk_error, remove


@dataclass(frozen=True)
class News:
    """What was written since the last look, by a file's name: what logs grew by, and whole checkpoints."""

    logs: dict[str, bytes] = field(default_factory=dict)
    checkpoints: dict[str, bytes] = field(default_factory=dict)


class FileSync:
    """The study directory of one worker on its machine; remembers what of it has been sent."""

    def __init__(self, study_dir: StudyDirectory) -> None:
        self._layout = study_dir
        self._sent: dict[str, int] = {}  # bytes of a log
        self._seen: dict[str, tuple[int, int]] = {}  # which version of a checkpoint

    def news(self) -> News:
        """What is new, and from now on is not."""
        logs: dict[str, bytes] = {}
        for path in sorted(self._layout.logs.glob("*.log")):
            with path.open("rb") as file:
                file.seek(self._sent.get(path.name, 0))
                if added := file.read():
                    logs[path.name] = added
                    self._sent[path.name] = file.tell()
        checkpoints: dict[str, bytes] = {}
        # What is still being written has a name with a dot in front.
        for path in sorted(self._layout.checkpoints.glob("[!.]*")):
            found = path.stat()
            version = (found.st_ino, found.st_mtime_ns)
            if self._seen.get(path.name) != version:
                checkpoints[path.name] = path.read_bytes()
                self._seen[path.name] = version
        return News(logs, checkpoints)

    def drop(self, paths: Iterable[Path]) -> None:
        """Remove files that have been sent and are needed no more."""
        for path in paths:
            self._sent.pop(path.name, None)
            self._seen.pop(path.name, None)
            remove([path])


def apply_news(study_dir: StudyDirectory, news: News) -> None:
    """Put `news` into the study directory `study_dir`; a checkpoint is there whole, or as it was.

    Raises:
        StorageError: the disk refused.
    """
    for name, added in news.logs.items():
        with _refusals(study_dir.logs / name) as path, path.open("ab") as log:
            log.write(added)
    for name, content in news.checkpoints.items():
        with _refusals(study_dir.checkpoints / name) as path:
            temporary = path.with_name(f".{name}.part")
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)


@contextlib.contextmanager
def _refusals(path: Path) -> Iterator[Path]:
    """The path, below a directory that is there; what the disk refuses becomes a StorageError."""
    try:
        path.parent.mkdir(exist_ok=True)  # in the study's directory, which is not made anew if it was removed
        yield path
    except OSError as error:
        raise disk_error(path, error) from error
