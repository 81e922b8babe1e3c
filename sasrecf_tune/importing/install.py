"""Writes the files of a data set as a whole: a killed process leaves the old ones or all of the new ones."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from sasrecf_tune.errors import InputError, StorageError
from sasrecf_tune.storage.directory_swap import replace_directory, staging_directory
from sasrecf_tune.storage.files import RUN_AGAIN, disk_error, make_directory


def check_target(directory: Path, force: bool) -> None:
    """Check that the files of a data set may be written to `directory`.

    Raises:
        InputError: It exists, and may not be replaced.
    """
    above = next(path for path in directory.absolute().parents if os.path.lexists(path))
    if not above.is_dir():
        raise InputError("this is no directory", where=str(above), fix="Choose another --out.")
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

    Raises:
        StorageError: They cannot be written.
    """
    try:
        make_directory(directory.parent)
        with staging_directory(directory) as working:
            for name, pieces in files.items():
                with (working / name).open("x", encoding="utf-8", newline="") as file:
                    file.writelines(pieces)
            replace_directory(working, directory)
    except OSError as error:
        raise _without_study(disk_error(directory, error)) from error
    except StorageError as error:
        raise _without_study(error) from error


def _without_study(error: StorageError) -> StorageError:
    # No study is continued by the same command.
    return StorageError(error.what, where=error.where, fix=error.fix.removesuffix(RUN_AGAIN).strip())
