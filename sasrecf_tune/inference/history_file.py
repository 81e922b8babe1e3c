"""Reads histories from a CSV, TSV or Parquet file, in pieces: a file can be larger than the memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sasrecf_tune.errors import InputError
from sasrecf_tune.inference.histories import Histories, HistoryBuilder
from sasrecf_tune.inputs.parquet import import_pyarrow
from sasrecf_tune.storage.model_directory import Columns

_ROWS = 500_000
_USERS, _ITEMS = ("user", "user_id", "userid", "uid"), ("item", "item_id", "itemid", "iid")


def read_histories(path: Path, names: Columns, index: pd.Index[Any]) -> Histories:
    """Read a table with a row for each interaction.

    The rows of a user are in time order, or have the time in a column of the name that the model's data has.

    Args:
        names: The columns of the model's data, which are taken first; else `user` and `item`, or usual names.
        index: The original ids of the model's items.

    Raises:
        InputError: The file cannot be read, or has no such columns.
    """
    builder = HistoryBuilder(index)
    pieces = _parquet_pieces(path, names) if path.suffix == ".parquet" else _csv_pieces(path, names)
    try:
        for table in pieces:
            add_table(builder, table, str(path))
    except OSError as error:
        raise InputError(f"cannot read: {error.strerror or error}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise InputError("not UTF-8 text", where=str(path), fix="Save it as CSV in UTF-8.") from error
    except pd.errors.EmptyDataError as error:
        raise InputError("the file is empty", where=str(path)) from error
    except pd.errors.ParserError as error:
        raise InputError(
            "a line has more fields than the first one, or a quote is not closed", where=str(path)
        ) from error
    return builder.build()


def from_frame(frame: pd.DataFrame, names: Columns, index: pd.Index[Any]) -> Histories:
    """Return the histories of a table as `read_histories` takes it.

    Raises:
        InputError: It has no such columns.
    """
    builder = HistoryBuilder(index)
    columns = choose_columns(list(map(str, frame.columns)), names, "histories")
    table = pd.DataFrame(dict(zip(("user", "item", "time"), (frame[each] for each in columns), strict=False)))
    add_table(builder, table, "histories")
    return builder.build()


def choose_columns(header: Sequence[str], names: Columns, where: str) -> list[str]:
    """Return the columns of users and items, and that of times if there is one.

    A name may end with RecBole's type, such as `user_id:token`.

    Raises:
        InputError: There is no column of users or items.
    """
    plain = {name.partition(":")[0].strip().lower(): name for name in reversed(header)}
    found: list[str] = []
    for kind, own, usual in (("users", names.user, _USERS), ("items", names.item, _ITEMS)):
        name = next((plain[each] for each in (own.lower(), *usual) if each in plain), None)
        if name is None:
            raise InputError(
                f"no column of {kind}; the columns are {', '.join(header[:20])}",
                where=where,
                fix=f"Name it {own} or {usual[0]} in the first line.",
            )
        found.append(name)
    time = plain.get(names.time.lower()) if names.time else None
    return [*found, time] if time is not None else found


def add_table(builder: HistoryBuilder, table: pd.DataFrame, where: str) -> None:
    """Add the rows of a table with the columns user, item and perhaps time.

    Raises:
        InputError: A time is no number.
    """
    times: NDArray[np.float64] | None = None
    if "time" in table:
        numbers = pd.to_numeric(table["time"], errors="coerce").to_numpy(dtype=np.float64)
        if np.isnan(numbers).any():
            wrong = table["time"].to_numpy()[np.isnan(numbers)][0]
            raise InputError(
                f"a time is no number: {str(wrong)[:40]!r}",
                where=where,
                fix="Remove this column if the rows are in time order.",
            )
        times = numbers
    users, items = (table[name].astype(str).to_numpy(dtype=object) for name in ("user", "item"))
    builder.add(users, items, times)


def _csv_pieces(path: Path, names: Columns) -> Iterator[pd.DataFrame]:
    with path.open(encoding="utf-8-sig") as file:
        first = file.readline()
    separator = "\t" if "\t" in first else ","
    header = list(pd.read_csv(path, sep=separator, nrows=0, encoding="utf-8-sig").columns)
    columns = choose_columns(header, names, str(path))
    options: dict[str, Any] = {"sep": separator, "usecols": columns, "encoding": "utf-8-sig"}
    with pd.read_csv(path, dtype=str, keep_default_na=False, chunksize=_ROWS, **options) as reader:
        for piece in reader:
            yield piece.rename(columns=dict(zip(columns, ("user", "item", "time"), strict=False)))


def _parquet_pieces(path: Path, names: Columns) -> Iterator[pd.DataFrame]:
    pyarrow = import_pyarrow(path)
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            columns = choose_columns(file.schema_arrow.names, names, str(path))
            for batch in file.iter_batches(batch_size=_ROWS, columns=columns):
                yield pd.DataFrame(
                    {
                        name: batch.column(column).cast(pyarrow.string()).to_numpy(zero_copy_only=False)
                        for name, column in zip(("user", "item", "time"), columns, strict=False)
                    }
                )
    except pyarrow.ArrowException as error:
        raise InputError("not a Parquet file, or damaged", where=str(path)) from error
