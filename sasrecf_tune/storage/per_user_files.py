"""The metrics of each user: a CSV file for each trial and part of the data.

A study directory may come from somebody else: a link, and a file that is too large or no table, is refused.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, get_args

from sasrecf_tune.errors import StorageError
from sasrecf_tune.storage.files import atomic_write, make_directory, open_regular

if TYPE_CHECKING:
    import pandas as pd

Part = Literal["valid", "test"]
PARTS: tuple[Part, ...] = get_args(Part)
# The columns before the metrics: original ids; interactions of the user and of the item in the training part;
# the place of the held-out item among the ranked items.
USER, ITEM, HISTORY, POPULARITY, RANK = "user", "item", "history", "popularity", "rank"
COLUMNS = (USER, ITEM, HISTORY, POPULARITY, RANK)
# Bytes of the largest file that is read: some ten million users.
MOST_BYTES = 1 << 29


def per_user_file(base: Path, part: Part) -> Path:
    """The file of a part of the data; `base` is what `StudyDirectory.per_user` returns."""
    return base.with_name(f"{base.name}.{part}.csv")


def write_per_user(path: Path, columns: Mapping[str, Any]) -> None:
    """Write a table with the columns `COLUMNS` and metrics; an earlier one is replaced as a whole.

    Raises:
        StorageError: It cannot be written.
    """
    import pandas as pd

    atomic_write(path, pd.DataFrame(dict(columns)).to_csv(index=False, lineterminator="\n"))


def copy_per_user(source: Path, target: Path) -> list[Path]:
    """Copy the files of all parts, each as a whole; both are as `per_user_file` takes them.

    Returns:
        The new files.

    Raises:
        StorageError: One cannot be written.
    """
    make_directory(target.parent)
    copied = []
    for part in PARTS:
        if (path := per_user_file(source, part)).exists():
            copied.append(per_user_file(target, part))
            atomic_write(copied[-1], path.read_text(encoding="utf-8"))
    return copied


def read_per_user(path: Path, keys: Sequence[str] | None = None) -> pd.DataFrame:
    """Read such a table.

    Args:
        keys: The metrics to read; None for all.

    Raises:
        FileNotFoundError: There is none.
        StorageError: It is not such a table, or larger than any.
    """
    import pandas as pd

    if path.parent.is_symlink():
        raise _refused(path, "its directory is a link")
    try:
        handle = open_regular(path, MOST_BYTES, os.O_NOFOLLOW)
    except FileNotFoundError:
        raise
    except OSError as error:
        told = error.errno in (errno.EINVAL, errno.EFBIG) and error.strerror
        raise _refused(path, told or "it is a link or cannot be opened") from error
    with os.fdopen(handle, encoding="utf-8", newline="") as file:
        try:
            metrics = _header(file)[len(COLUMNS) :] if keys is None else list(keys)
            types = dict.fromkeys((USER, ITEM), str) | dict.fromkeys((HISTORY, POPULARITY, RANK), "int64")
            file.seek(0)
            frame = pd.read_csv(
                file,
                usecols=[*COLUMNS, *metrics],
                dtype=types | dict.fromkeys(metrics, "float64"),
                na_filter=False,
                engine="c",
                float_precision="round_trip",
                lineterminator="\n",  # an id may have a carriage return
            )
        except (ValueError, OverflowError, pd.errors.ParserError, OSError) as error:
            raise _refused(path, "it is not a table of ranks and metrics") from error
    in_range = all(((frame[key] >= 0) & (frame[key] <= 1)).all() for key in metrics)
    if frame.empty or frame[RANK].min() < 1 or frame[[HISTORY, POPULARITY]].min().min() < 0 or not in_range:
        raise _refused(path, "a value in it is out of range")
    return frame[[*COLUMNS, *metrics]]


def _header(file: IO[str]) -> list[str]:
    names = file.readline(1 << 16).rstrip("\r\n").split(",")
    if tuple(names[: len(COLUMNS)]) != COLUMNS or len(set(names)) != len(names):
        raise ValueError("the columns are others")
    return names


def _refused(path: Path, why: str) -> StorageError:
    return StorageError(
        f"cannot be read: {why}", where=str(path), fix="Remove it, and write it again with --per-user."
    )
