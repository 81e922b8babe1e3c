"""Sends the files of a data set to the nodes of a cluster, in pieces."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sasrecf_tune.errors import DataError
from sasrecf_tune.inputs.dataset_files import DatasetFiles
from sasrecf_tune.storage.files import disk_error

# Bytes of a file that are in memory at a time.
_PIECE_BYTES = 32 << 20

Fetch = Callable[[Any], bytes]  # returns the piece that a reference stands for


@dataclass(frozen=True)
class ShippedDataset:
    """The files of a data set.

    Attributes:
        directory: Where the files are on the coordinator's machine.
        files: For each file name, references to its pieces.
    """

    name: str
    directory: Path
    files: Mapping[str, Sequence[Any]]


def ship_dataset(data: DatasetFiles, put: Callable[[bytes], Any]) -> ShippedDataset:
    """Read all files of a data set; `put` stores a piece and returns a reference to it.

    Raises:
        DataError: A file cannot be read.
    """
    files: dict[str, list[Any]] = {}
    for path in data.files():
        try:
            with path.open("rb") as file:
                files[path.name] = [put(piece) for piece in iter(partial(file.read, _PIECE_BYTES), b"")]
        except OSError as error:
            raise DataError(f"cannot read: {error.strerror or error}", where=str(path)) from error
    return ShippedDataset(data.name, data.path, files)


def unpack_dataset(data: ShippedDataset, directory: Path, fetch: Fetch) -> None:
    """Write the files to `directory`/NAME, unless another worker on this machine has done so.

    Raises:
        StorageError: A file cannot be written.
    """
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        done = directory / "done"
        with (directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if done.exists():
                return
            (directory / data.name).mkdir(exist_ok=True)
            for name, pieces in data.files.items():
                with (directory / data.name / name).open("wb") as file:
                    for piece in pieces:
                        file.write(fetch(piece))
            done.touch()
    except OSError as error:
        raise disk_error(directory, error) from error
