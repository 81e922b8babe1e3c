"""Writes tables of any length to CSV or Parquet, a part at a time, and item vectors to npz or Parquet."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from typing_extensions import override

from sasrecf_tune.errors import InputError
from sasrecf_tune.inputs.parquet import import_pyarrow
from sasrecf_tune.report.text import visible
from sasrecf_tune.storage.files import output_error, replacing

Columns = Mapping[str, Any]  # names and arrays of equal length
_DECIMALS = 6


@contextlib.contextmanager
def open_table(path: Path | None) -> Iterator[Callable[[Columns], None]]:
    """Yield a function that appends rows, given as columns, to a CSV or Parquet file, by its suffix.

    The file has its name only once the block has ended without an error; an earlier one is replaced then. A
    pipe or a device, and standard output for None, is written to at once, as CSV.

    Raises:
        InputError: The suffix is another one, or pyarrow is not installed.
        StorageError: The file cannot be written.
    """
    if path is None:
        # Nobody reads the rest of a table if the reader of a pipe has left.
        with contextlib.suppress(BrokenPipeError), _standard_output() as stream:
            yield _csv_writer(stream)
        return
    kind = check_suffix(path, (".csv", ".parquet"))
    with whole_file(path) as file:
        if kind == ".parquet":
            with _parquet_writer(path, file) as write:
                yield write
        else:
            with _text(os.dup(file.fileno())) as text:
                yield _csv_writer(text)


def write_vectors(path: Path, ids: Any, vectors: Any) -> None:
    """Write a vector for each id: npz with the arrays `ids` and `vectors`, or Parquet, by the suffix.

    Args:
        ids: Original ids, [items].
        vectors: [items, hidden].

    Raises:
        InputError: The suffix is another one, or pyarrow is not installed.
        StorageError: The file cannot be written.
    """
    import numpy as np

    kind = check_suffix(path, (".npz", ".parquet"))
    with whole_file(path) as file:
        if kind == ".npz":
            np.savez(file, ids=ids.astype(str), vectors=vectors)  # no objects: nothing is pickled
            return
        pyarrow = import_pyarrow(path)
        flat = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(vectors.ravel()), vectors.shape[1])
        table = pyarrow.table({"item": pyarrow.array(ids, pyarrow.string()), "vector": flat})
        pyarrow.parquet.write_table(table, file)


def check_suffix(path: Path, known: tuple[str, ...]) -> str:
    """Return the suffix of `path`, "" of a pipe or a device.

    Raises:
        InputError: It is none of `known`, or `path` is a directory or in none.
    """
    if path.is_dir():
        raise InputError("this is a directory", where=str(path), fix="Give the name of a file in it.")
    if path.exists() and not path.is_file():
        return ""
    suffix = path.suffix.lower()
    if suffix not in known:
        raise InputError(
            "the name of the file says its format", where=str(path), fix=f"End it with {' or '.join(known)}."
        )
    if not path.resolve().parent.is_dir():
        raise InputError(f"there is no directory {path.resolve().parent}", where=str(path), fix="Create it.")
    if suffix == ".parquet":
        import_pyarrow(path)
    return suffix


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that gets the name `path` when the block ends without an error.

    Raises:
        StorageError: It cannot be written; an earlier file is unchanged.
    """
    target = path.resolve()  # a link stays one
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as stream:
                yield stream
            return
        with replacing(target) as file:
            yield file
    except OSError as error:
        raise output_error(path, error) from error


class _Terminal(io.StringIO):
    """Standard output that is a terminal, which would act on control characters of ids."""

    @override
    def write(self, text: str, /) -> int:
        return sys.stdout.write(visible(text))


def _text(descriptor: int) -> IO[str]:
    return os.fdopen(descriptor, "w", encoding="utf-8", newline="", errors="backslashreplace")


@contextlib.contextmanager
def _standard_output() -> Iterator[IO[str]]:
    if sys.stdout.isatty():
        yield _Terminal()
        return
    try:
        descriptor = os.dup(sys.stdout.fileno())
    except OSError:  # replaced by a stream without a file
        yield sys.stdout
        return
    sys.stdout.flush()
    with _text(descriptor) as stream:
        yield stream


def _csv_writer(file: IO[str]) -> Callable[[Columns], None]:
    writer = csv.writer(file, lineterminator="\n")
    begun = False

    def write(columns: Columns) -> None:
        nonlocal begun
        if not begun:
            writer.writerow(columns)
            begun = True
        writer.writerows(zip(*(_plain(column) for column in columns.values()), strict=True))

    return write


def _plain(column: Any) -> list[Any]:
    rounded = column.astype("float64").round(_DECIMALS) if column.dtype.kind == "f" else column
    values: list[Any] = rounded.tolist()
    return values


@contextlib.contextmanager
def _parquet_writer(path: Path, file: IO[bytes]) -> Iterator[Callable[[Columns], None]]:
    pyarrow = import_pyarrow(path)
    with contextlib.ExitStack() as stack:
        opened: list[Any] = []

        def write(columns: Columns) -> None:
            table = pyarrow.table({name: pyarrow.array(column) for name, column in columns.items()})
            if not opened:
                opened.append(stack.enter_context(pyarrow.parquet.ParquetWriter(file, table.schema)))
            opened[0].write_table(table)

        yield write
