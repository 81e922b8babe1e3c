"""Reads histories from a table: a file of any format that `import` reads, or a data frame."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sasrecf_tune.errors import InputError
from sasrecf_tune.importing.ids import Ids
from sasrecf_tune.importing.interactions import check_distinct, no_column
from sasrecf_tune.importing.layouts import ITEM, TIME, USER, usual_column
from sasrecf_tune.importing.sources import Source, open_table
from sasrecf_tune.importing.times import TimeColumn, joined, parse_times
from sasrecf_tune.inference.histories import Histories, from_interactions
from sasrecf_tune.inputs.import_settings import ImportSettings
from sasrecf_tune.storage.model_directory import Columns

if TYPE_CHECKING:
    import pandas as pd


def read_histories(
    table: Path | pd.DataFrame,
    names: Columns,
    index: pd.Index[Any],
    given: Mapping[str, str],
) -> tuple[Histories, Mapping[str, str]]:
    """Read a table with a row for each interaction, in pieces: a file can be larger than the memory.

    The rows of a user are in time order, or there is a column of times.

    Args:
        names: The columns of the model's data, which are taken first; else those of usual names.
        index: The original ids of the model's items.
        given: The columns that the user named, by role.

    Returns:
        The histories, and the columns that are the user, the item and, if there is one, the time.

    Raises:
        InputError: The table cannot be read, has no such columns, or a time cannot be used.
    """
    where = str(table) if isinstance(table, Path) else "histories"
    with _without_options_of_import(where):
        source = open_table(table, ImportSettings(header=True))
    columns = choose_columns(source, names, where, given)
    with _without_options_of_import(where):
        user_ids, item_ids = Ids(), Ids()
        users, items, times = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)], []
        for chunk in source.chunks(list(columns.values())):
            users.append(user_ids.number(chunk[columns[USER]]))
            items.append(item_ids.number(chunk[columns[ITEM]]))
            if TIME in columns:
                times.append(_times(chunk[columns[TIME]], where))
        if malformed := source.malformed():
            raise InputError(malformed[0], where=where, fix="Correct the line.")
        order = joined(times, columns[TIME]).values if times else None
    found = from_interactions(
        *(np.concatenate(users), np.concatenate(items)), user_ids.texts, item_ids.texts, index, order
    )
    return found, columns


@contextlib.contextmanager
def _without_options_of_import(where: str) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        # The options about the format of a text do not exist here.
        fix = "Save it as CSV in UTF-8, with commas." if "--" in error.fix else error.fix
        raise InputError(error.what, where=where, fix=fix) from error


def choose_columns(source: Source, names: Columns, where: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return the columns of users and items, and that of times if there is one.

    A name may end with RecBole's type, such as `user_id:token`.

    Args:
        given: As in `read_histories`.

    Raises:
        InputError: There is no column of users or items, or none of a name in `given`.
    """
    header = list(source.columns)
    plain = {name.partition(":")[0].strip(): name for name in reversed(header)}
    found: dict[str, str] = {}
    for role, named in given.items():
        if named not in header and named not in plain:
            raise no_column(role, named, source)
        found[role] = named if named in header else plain[named]
    check_distinct(found, source)
    for role, own in ((USER, names.user), (ITEM, names.item), (TIME, names.time)):
        if role in found:
            continue
        free = [name for name in plain if plain[name] not in found.values()]
        same = next((name for name in free if own and name.casefold() == own.casefold()), None)
        if (name := same or usual_column(role, free)) is not None:
            found[role] = plain[name]
        elif role != TIME:
            raise InputError(
                f"no column of {role}s; the columns are {', '.join(header[:20])}",
                where=where,
                fix=f"Name it {own} or {role} in the first line, or with --{role} COLUMN.",
            )
    return found


def _times(column: pd.Series, where: str) -> TimeColumn:
    """The times of some rows.

    Raises:
        InputError: One is missing, or is neither a number nor an ISO date.
    """
    times = parse_times(column, None)
    if not times.valid.all():
        wrong = column.iloc[int(np.argmin(times.valid))]
        raise InputError(
            f"a time is neither a number nor an ISO date: {str(wrong)[:40]!r}",
            where=where,
            fix=f"Correct it. If the rows are in time order, remove the column {column.name}.",
        )
    return times
