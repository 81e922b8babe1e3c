"""Tables of every kind, read in chunks of rows: text files, JSON lines, Parquet and data frames."""

from __future__ import annotations

import codecs
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from typing_extensions import override

from sasrecf_tune.errors import InputError
from sasrecf_tune.importing.json_lines import JsonLines
from sasrecf_tune.importing.text_format import SAMPLE_ROWS, encoding_of, open_bytes, reading
from sasrecf_tune.importing.text_table import CHUNK, TextTable
from sasrecf_tune.inputs.import_settings import ImportSettings
from sasrecf_tune.inputs.parquet import import_pyarrow


class Source(Protocol):
    """A table.

    Attributes:
        name: For people.
        about: How it is read, in a few words.
        columns: The names of its columns.
        kinds: RecBole's types, for the columns of an atomic file.
    """

    name: str
    about: str
    columns: tuple[str, ...]
    kinds: Mapping[str, str]

    def sample(self) -> Mapping[str, Sequence[object]]:
        """The values of the first rows, by column."""

    def chunks(self, columns: Sequence[str], rows: int = CHUNK) -> Iterator[pd.DataFrame]:
        """These columns, some rows at a time; values of text files are text, or whole numbers."""

    def malformed(self) -> Sequence[str]:
        """What is wrong with the lines that `chunks` has left out."""


def open_table(table: object, settings: ImportSettings) -> Source:
    """The table in a file, or a data frame.

    Raises:
        InputError: It is neither, or cannot be read.
    """
    found: Source
    if isinstance(table, str | Path):
        found = _open_file(Path(table), settings)
    else:
        found = FrameTable(_pandas_frame(table))
    if not found.columns:
        raise InputError("the table has no columns", where=found.name)
    return found


def _open_file(path: Path, settings: ImportSettings) -> Source:
    with reading(path):
        if path.is_dir():
            raise InputError("this is a directory", where=str(path), fix="Give the name of a file.")
        if not os.path.lexists(path):
            raise InputError("the file does not exist", where=str(path))
        if not path.is_file():
            raise InputError("it is no regular file", where=str(path), fix="Save the table to a file.")
        with path.open("rb") as file:
            parquet = file.read(4) == b"PAR1"
        if parquet:
            return ParquetTable(path)
        with open_bytes(path) as file:
            start = file.read(256)
    encoding = encoding_of(start, settings) or "utf-8"
    # Not strictly: some well-known files are in another encoding, which TextTable knows.
    text = codecs.getincrementaldecoder(encoding)("replace").decode(start).lstrip()
    if text.startswith(("{", "[{", "[\n")):
        return JsonLines(path, encoding)
    return TextTable(path, settings)


def _pandas_frame(table: object) -> pd.DataFrame:
    """A data frame of pandas or polars as one of pandas.

    Raises:
        InputError: It is something else.
    """
    if isinstance(table, pd.DataFrame):
        frame = table
    elif type(table).__module__.split(".")[0] == "polars" and hasattr(table, "get_columns"):
        # polars.DataFrame.to_pandas would need pyarrow.
        frame = pd.DataFrame({column.name: _pandas_values(column) for column in table.get_columns()})
    else:
        raise InputError(f"expected a file or a data frame of pandas or polars, not {type(table).__name__}")
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    _check_unique(tuple(frame.columns), FrameTable.name)
    return _without_na(frame)


def _without_na(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with None for pd.NA, which is neither equal nor unequal to anything."""
    plain = frame.copy(deep=False)
    for name, column in frame.items():
        may_have = column.dtype == object or getattr(column.dtype, "na_value", None) is pd.NA
        if may_have and column.hasnans:
            plain[name] = column.astype(object).where(column.notna(), None)
    return plain


def _check_unique(columns: Sequence[str], where: str) -> None:
    if repeated := [name for name, count in Counter(columns).items() if count > 1]:
        raise InputError(f"column {repeated[0]!r} occurs twice", where=where)


def _pandas_values(column: Any) -> Any:
    kind = str(column.dtype)
    if kind.startswith("Datetime"):
        return pd.Series(pd.to_datetime(column.to_numpy(), utc=True))
    plain = kind.startswith(("Int", "UInt", "Float")) and not column.null_count()
    return column.to_numpy() if plain else pd.Series(column.to_list(), dtype=object)


class FrameTable:
    """A data frame."""

    name = "the data frame"
    about = "a data frame"
    kinds: Mapping[str, str] = {}

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame
        self.columns = tuple(frame.columns)

    def sample(self) -> Mapping[str, Sequence[object]]:
        """The values of the first rows, by column."""
        return {name: self._frame[name].head(SAMPLE_ROWS).tolist() for name in self.columns}

    def chunks(self, columns: Sequence[str], rows: int = CHUNK) -> Iterator[pd.DataFrame]:
        """These columns, some rows at a time."""
        chosen = self._frame[list(columns)]
        for start in range(0, len(chosen), rows):
            yield chosen.iloc[start : start + rows]

    def malformed(self) -> Sequence[str]:
        """Nothing."""
        return ()


class ParquetTable(FrameTable):
    """A Parquet file."""

    about = "Parquet"

    def __init__(self, path: Path) -> None:
        parquet = import_pyarrow(path).parquet
        try:
            self._file = parquet.ParquetFile(path)
            self.columns = tuple(self._file.schema_arrow.names)
        except (OSError, ValueError) as error:  # pyarrow's errors derive from them
            raise InputError("it is damaged, or no Parquet file", where=str(path)) from error
        self.name = str(path)
        _check_unique(self.columns, self.name)

    @override
    def sample(self) -> Mapping[str, Sequence[object]]:
        first = next(self.chunks(self.columns, SAMPLE_ROWS), pd.DataFrame(columns=list(self.columns)))
        return {name: first[name].tolist() for name in self.columns}

    @override
    def chunks(self, columns: Sequence[str], rows: int = CHUNK) -> Iterator[pd.DataFrame]:
        try:
            for batch in self._file.iter_batches(rows, columns=list(columns)):
                # Whole numbers with a missing one stay whole numbers.
                yield _without_na(batch.to_pandas(integer_object_nulls=True))
        except (OSError, ValueError) as error:
            raise InputError("it is damaged", where=self.name) from error
