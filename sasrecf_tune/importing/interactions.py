"""Reads a table of interactions: who, what, when; and counts the rows that cannot be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sasrecf_tune.errors import InputError, suggest
from sasrecf_tune.importing.ids import NONE, UNREADABLE, Ids
from sasrecf_tune.importing.layouts import ITEM, RATING, TIME, USER, USUAL_NAMES, usual_column
from sasrecf_tune.importing.sources import Source
from sasrecf_tune.importing.time_order import ExactTimes, exact_times
from sasrecf_tune.importing.times import YEARS, TimeColumn, TimeSpan, joined, parse_times, span_of
from sasrecf_tune.inputs.import_settings import Drop, ImportSettings

# Odd, so that a product modulo 2**64 loses nothing.
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclass
class LostRows:
    """Rows that are not written: how many, why, and what to show of the first.

    Attributes:
        drop: The value of --drop that allows it; None if another option says so.
    """

    drop: Drop | None
    why: str
    count: int
    example: str = ""

    def __str__(self) -> str:
        return f"{self.count:,} row{'s' * (self.count != 1)}: {self.why}" + (
            f" ({self.example})" if self.example else ""
        )


@dataclass(frozen=True)
class Interactions:
    """The interactions to write, in the order of the table.

    Attributes:
        users, items: Numbers in `user_ids` and `item_ids`.
        ratings: As they are in the table; None if they are not written.
        repeated: How many rows repeat an earlier one: the same user, item and time.
        unused: The columns that are not read.
    """

    columns: Mapping[str, str]
    users: NDArray[np.int32]
    items: NDArray[np.int32]
    times: ExactTimes
    ratings: NDArray[np.float64] | None
    user_ids: Ids
    item_ids: Ids
    span: TimeSpan
    rows: int
    lost: Sequence[LostRows]
    repeated: int
    unused: Sequence[str]

    def count_of_users(self) -> int:
        """The users with an interaction."""
        return len(np.unique(self.users))

    def count_of_short(self, length: int) -> int:
        """The users with fewer interactions than `length`."""
        counts = np.bincount(self.users)
        return int(np.count_nonzero((counts > 0) & (counts < length)))

    def count_of_items(self) -> int:
        """The items with an interaction."""
        return len(np.unique(self.items))


def columns_of(table: Source, settings: ImportSettings) -> dict[str, str]:
    """The columns of users, items and times, and of ratings if there is one.

    Raises:
        InputError: A column does not exist, or is not known by its name.
    """
    found: dict[str, str] = {}
    for role in (USER, ITEM, TIME, RATING):
        given = getattr(settings, role)
        if given is not None and given not in table.columns:
            raise no_column(role, given, table)
        # A rating is not needed: what has the usual name of one may be something else.
        free = [name for name in table.columns if role != RATING or name not in found.values()]
        if column := given or usual_column(role, free):
            found[role] = column
    for role in (USER, ITEM, TIME):
        if role not in found:
            usual = ", ".join(USUAL_NAMES[role][:6])
            raise InputError(
                f"no column of {role}s was recognized (usual names: {usual}, ...)",
                where=table.name,
                fix=f"Name it: --{role} COLUMN. {columns_text(table)}",
            )
    if settings.min_rating is not None and RATING not in found:
        raise InputError(
            "`--min-rating` needs a column of ratings, and none was recognized",
            where=table.name,
            fix=f"Name it: --rating COLUMN. {columns_text(table)}",
        )
    check_distinct(found, table)
    return found


def no_column(role: str, given: str, table: Source) -> InputError:
    """Return the error that the table does not have the column that was given for a role."""
    return InputError(
        f"there is no column {given!r}{suggest(given, table.columns)}",
        where=f"--{role}",
        fix=columns_text(table),
    )


def check_distinct(found: Mapping[str, str], table: Source) -> None:
    """Check that users, items, times and ratings are in different columns.

    Raises:
        InputError: Two of them are in the same.
    """
    for first, second in combinations(found, 2):
        if found[first] == found[second]:
            raise InputError(
                f"column {found[first]!r} cannot be the {first} and the {second}",
                where=f"--{first}, --{second}",
                fix=columns_text(table),
            )


def columns_text(table: Source) -> str:
    """Name the columns, each with its first value."""
    sample = table.sample()
    shown = []
    for name in table.columns[:30]:
        first = next((str(value) for value in sample.get(name, ()) if value not in (None, "")), "")
        shown.append(f"{name} ({first[:30]})" if first else name)
    return f"Its columns, each with a value: {', '.join(shown)}."


def read_interactions(table: Source, settings: ImportSettings) -> Interactions:
    """Read all rows, and leave out what cannot be used or is not wanted.

    Raises:
        InputError: The table cannot be read, or no row is left.
    """
    columns = columns_of(table, settings)
    uses_ratings = settings.rating is not None or settings.min_rating is not None
    if not uses_ratings:
        columns.pop(RATING, None)
    user_ids, item_ids = Ids(), Ids()
    users, items, times, ratings = [], [], [], []
    bad_times: list[str] = []
    for chunk in table.chunks(list(columns.values())):
        users.append(user_ids.number(chunk[columns[USER]]))
        items.append(item_ids.number(chunk[columns[ITEM]]))
        parsed = parse_times(chunk[columns[TIME]], settings.time_format)
        times.append(parsed)
        if not bad_times:
            bad = np.flatnonzero(~parsed.valid & ~parsed.missing)[:1]
            bad_times += [str(value) for value in chunk[columns[TIME]].iloc[bad]]
        if uses_ratings:
            values = pd.to_numeric(chunk[columns[RATING]], errors="coerce")
            ratings.append(values.to_numpy(np.float64))
    column = joined(times, columns[TIME])
    user = np.concatenate(users) if users else np.zeros(0, np.int32)
    item = np.concatenate(items) if items else np.zeros(0, np.int32)
    rating = np.concatenate(ratings) if ratings else None
    reasons = _reasons(columns, user, item, column, rating, user_ids, item_ids, bad_times, settings)
    kept = np.ones(len(user), dtype=bool)
    lost: list[LostRows] = []
    if malformed := table.malformed():
        lost.append(LostRows("unreadable", "other fields than columns", len(malformed), malformed[0]))
    for drop, why, wrong, example in reasons:
        wrong &= kept
        if count := int(np.count_nonzero(wrong)):
            first = f"row {int(np.argmax(wrong)) + 1}" + (f": {example}" if example else "")
            lost.append(LostRows(drop, why, count, first))
            kept &= ~wrong
    user, item, values = user[kept], item[kept], column.values[kept]
    rating = None if rating is None else rating[kept]
    repeated = _repeated(user, item, values)
    count_repeated = int(np.count_nonzero(repeated))
    if count_repeated and "duplicates" in settings.drop:
        lost.append(LostRows("duplicates", "the same user, item and time as an earlier row", count_repeated))
        user, item, values = user[~repeated], item[~repeated], values[~repeated]
        rating = None if rating is None else rating[~repeated]
    _check_left(table, len(kept) + len(malformed), len(user), lost)
    return Interactions(
        columns,
        user,
        item,
        exact_times(column, values, user),
        rating,
        user_ids,
        item_ids,
        span_of(column, values),
        len(kept) + len(malformed),
        lost,
        count_repeated,
        [name for name in table.columns if name not in columns.values()],
    )


def _check_left(table: Source, rows: int, left: int, lost: Sequence[LostRows]) -> None:
    if left:
        return
    if not rows:
        raise InputError("the table has no rows", where=table.name)
    raise InputError(
        f"none of its {rows:,} rows is left: " + "; ".join(map(str, lost)),
        where=table.name,
        fix="Check which columns are meant (--user, --item, --time), and --min-rating.",
    )


Reason = tuple[Drop | None, str, NDArray[np.bool_], str]


def _reasons(
    columns: Mapping[str, str],
    user: NDArray[np.int32],
    item: NDArray[np.int32],
    times: TimeColumn,
    rating: NDArray[np.float64] | None,
    user_ids: Ids,
    item_ids: Ids,
    bad_times: Sequence[str],
    settings: ImportSettings,
) -> list[Reason]:
    """Which rows cannot be used, and why; a row may have several reasons."""
    found: list[Reason] = []
    for numbers, role in ((user, USER), (item, ITEM)):
        why = f"{columns[role]} is empty, or a word that RecBole reads as missing, such as NA"
        found.append(("missing", why, numbers == NONE, ""))
    found.append(("missing", f"{columns[TIME]} is empty", times.missing, ""))
    for numbers, ids, role in ((user, user_ids, USER), (item, item_ids, ITEM)):
        wrong = ids.unreadable()
        why = f"{columns[role]} {UNREADABLE}"
        found.append(("unreadable", why, np.append(wrong, False)[numbers], ""))
    why = f"{columns[TIME]} is neither a number nor an ISO date such as 2018-09-01T12:30:00, {YEARS}"
    if settings.time_format:
        why = f"{columns[TIME]} is no date of the format {settings.time_format!r} {YEARS}"
    example = repr(bad_times[0][:40]) if bad_times else ""
    found.append(("unreadable", why, ~times.valid & ~times.missing, example))
    if rating is not None:
        found.append(("missing", f"{columns[RATING]} is no number", ~np.isfinite(rating), ""))
        if settings.min_rating is not None:
            why = f"{columns[RATING]} below {settings.min_rating:g} (--min-rating)"
            found.append((None, why, rating < settings.min_rating, ""))
    return found


def _repeated(
    users: NDArray[np.int32], items: NDArray[np.int32], times: NDArray[np.int64] | NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which rows have the user, the item and the time of an earlier row."""
    pairs = users.astype(np.int64) << 32 | items
    # Equal rows have equal hashes; only rows whose hash recurs are compared, since that sorts few of them.
    hashes = pairs.view(np.uint64) * _MULTIPLIER ^ times.view(np.uint64)
    in_order = np.sort(hashes)
    recurring = np.isin(hashes, in_order[1:][in_order[1:] == in_order[:-1]])
    rows = np.flatnonzero(recurring)
    order = np.lexsort((times[rows], pairs[rows]))  # stable
    rows = rows[order]
    same = (pairs[rows[1:]] == pairs[rows[:-1]]) & (times[rows[1:]] == times[rows[:-1]])
    found = np.zeros(len(users), dtype=bool)
    found[rows[1:][same]] = True
    return found


def refusal(lost: Sequence[LostRows], drop: Sequence[str], where: str) -> InputError | None:
    """The error for rows that would be lost without having been told to leave them out; None without any."""
    counts: Counter[Drop] = Counter()
    texts = []
    for each in lost:
        if each.drop is not None and each.drop not in drop:
            counts[each.drop] += each.count
            texts.append(str(each))
    if not texts:
        return None
    options = " ".join(f"--drop {kind}" for kind in counts)
    return InputError(
        "rows would be lost:\n  " + "\n  ".join(texts),
        where=where,
        fix=f"Correct the table, or leave these rows out: {options}",
    )
