"""RecBole's atomic files, checked before RecBole reads them: where they are and what columns they have."""

from __future__ import annotations

import codecs
import glob
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sasrecf_tune.errors import DataError
from sasrecf_tune.inputs.hyperparameters import BUILTIN_DATASET
from sasrecf_tune.inputs.recbole_defaults import package_directory

TYPES = ("token", "token_seq", "float", "float_seq")


@dataclass(frozen=True)
class DatasetFiles:
    """The files `NAME.inter`, `NAME.item`, ... of a data set in the directory `path`.

    `part` is one of benchmark_filename, RecBole's setting for ready-made splits: NAME.PART.inter.
    """

    name: str
    path: Path
    part: str = ""

    @property
    def interactions(self) -> Path:
        """The file of interactions, or of those of `part`."""
        return self.interactions_of(self.part)

    def interactions_of(self, part: str) -> Path:
        """The file of interactions of a part, "" for all interactions."""
        return self.file(f"{part}.inter" if part else "inter")

    def file(self, suffix: str) -> Path:
        """The file with this suffix, such as ml-100k.inter."""
        return self.path / f"{self.name}.{suffix}"

    def files(self) -> list[Path]:
        """All files of the data set, sorted by name."""
        found = self.path.glob(f"{glob.escape(self.name)}.*")
        return sorted(file for file in found if file.is_file())


def locate(dataset: str, data_path: str | None, parts: Sequence[str] | None = None) -> DatasetFiles:
    """The files of `dataset` where RecBole looks for them; ml-100k is always inside the recbole package.

    Args:
        parts: benchmark_filename.

    Raises:
        DataError: the directory or a file of interactions is missing.
    """
    if any("\ud800" <= character <= "\udfff" for character in dataset):  # RecBole encodes the name
        raise DataError(
            f"the name {dataset!r} is not UTF-8",
            where="--dataset",
            fix="Rename the directory and its files; or, if it is UTF-8, set LC_ALL=C.UTF-8.",
        )
    if not dataset or dataset != Path(dataset).name or dataset in {".", ".."} or "\0" in dataset:
        raise DataError(f"{dataset!r} is not a data set name")
    if dataset == BUILTIN_DATASET:
        directory = package_directory() / "dataset_example" / dataset
    else:
        directory = Path(data_path or "dataset/") / dataset
    found = DatasetFiles(dataset, directory, str(parts[0]) if parts else "")
    try:
        missing = [path for path in map(found.interactions_of, map(str, parts or [""])) if not path.is_file()]
        names = [path.name for path in found.files()] if missing else []
    except OSError as error:  # the name is too long, or the directory is not readable
        raise DataError(f"cannot read: {error.strerror}", where=str(found.interactions)[:200]) from error
    if not missing:
        return found
    if parts and any(name.endswith(".inter") for name in names):
        raise DataError(
            f"the file does not exist, and benchmark_filename ({', '.join(map(str, parts))}) names it",
            where=str(missing[0]),
            fix=f"The files there: {', '.join(names)}. benchmark_filename names the parts between "
            f"{dataset}. and .inter: training, validation, test.",
        )
    split = [
        name.removeprefix(f"{dataset}.").removesuffix(".inter") for name in names if name.endswith(".inter")
    ]
    if not parts and len(split) == 3:
        raise DataError(
            f"there is no {dataset}.inter, but the parts {', '.join(split)}",
            where=str(directory),
            fix="To use them as they are, name them in the order training, validation, test, for example: "
            f'--set "benchmark_filename=[{", ".join(sorted(split, key=_usual_place))}]".',
        )
    raise DataError(
        f"no data set {dataset!r}: {missing[0]} does not exist",
        fix=(
            f"Set --data-path to the directory that contains {dataset}/{missing[0].name}; "
            f"only {BUILTIN_DATASET} comes with RecBole." + _files_there(directory)
        ),
    )


def _files_there(directory: Path) -> str:
    """A sentence about the files of a directory that has not those that are needed."""
    try:
        names = sorted(path.name for path in directory.iterdir() if path.is_file())
    except OSError:
        return ""
    return f" The files of {directory}: {', '.join(names[:8])}{', ...' * (len(names) > 8)}." if names else ""


def _usual_place(part: str) -> int:
    """Where a part called this belongs in benchmark_filename."""
    return 0 if part.startswith("tr") else 2 if part.startswith("te") else 1


def text_format(config: Mapping[str, Any]) -> tuple[str, str]:
    """Field separator and encoding of all files, from RecBole's complete configuration."""
    return str(config["field_separator"]), str(config["encoding"] or "utf-8")


def columns(file: Path, separator: str = "\t", encoding: str = "utf-8") -> dict[str, str]:
    """The columns of an atomic file with their types, from its first line; {} if there is no such file.

    Raises:
        DataError: the first line does not consist of `name:type` fields.
    """
    if not file.is_file():
        return {}
    try:
        with file.open("rb") as lines:
            # In an encoding in which the byte 0x0a ends a line, no more than the first line is decoded.
            has_byte_lines = "\n".encode(encoding)[-1:] == b"\n"
            reader = io.BytesIO(lines.readline(1 << 20)) if has_byte_lines else lines
            line = codecs.getreader(encoding)(reader).readline(1 << 20).rstrip("\r\n")
    except OSError as error:
        raise DataError(f"cannot read: {error.strerror or error}", where=str(file)) from error
    except LookupError as error:
        raise DataError(
            f"there is no encoding {encoding!r}", where="encoding", fix="For example: --set encoding=utf-8."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"the first line is not {encoding}: byte {error.object[error.start]:#x} cannot be read",
            where=f"{file}:1",
            fix="Save the file in that encoding, or give its encoding: --set encoding=NAME.",
        ) from error
    if not line.strip():
        raise DataError(
            "the file is empty" if file.stat().st_size == 0 else "the first line is empty",
            where=str(file),
            fix="The first line of an atomic file names its columns, such as user_id:token.",
        )
    if line.startswith("\ufeff"):
        raise DataError(
            "begins with a byte order mark, which RecBole reads as part of the first column's name",
            where=f"{file}:1",
            fix="Save it as UTF-8 without one, or: --set encoding=utf-8-sig",
        )
    found: dict[str, str] = {}
    for field in line.split(separator):
        name, colon, kind = field.partition(":")
        if not colon or kind not in TYPES or not name:
            raise DataError(
                f"the first line must be fields such as item_id:token, but one is {field[:60]!r}",
                where=f"{file}:1",
                fix=f"Types are {', '.join(TYPES)}; fields are separated by {separator!r}.",
            )
        if name in found:
            raise DataError(f"column {name!r} occurs twice in the first line", where=f"{file}:1")
        found[name] = kind
    return found


def fingerprint(data: DatasetFiles) -> str:
    """A hash of the names and contents of all files of the data set, as 16 hex digits."""
    digest = hashlib.sha256()
    for file in data.files():
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]
