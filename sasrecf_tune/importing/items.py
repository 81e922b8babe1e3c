"""Reads a table of items with their features."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sasrecf_tune.errors import DataError, InputError, suggest
from sasrecf_tune.importing.feature_kinds import Feature, is_long_text, read_feature
from sasrecf_tune.importing.ids import NONE, UNREADABLE, Ids, id_text, is_unreadable
from sasrecf_tune.importing.interactions import Interactions, LostRows
from sasrecf_tune.importing.layouts import ITEM, is_number, usual_column
from sasrecf_tune.importing.sources import Source
from sasrecf_tune.inputs.import_settings import ImportSettings

ITEM_ID, USER_ID, TIMESTAMP, RATING_NAME = "item_id", "user_id", "timestamp", "rating"
# Names that RecBole gives to columns of its own, or that the file of interactions has.
_TAKEN = {ITEM_ID, USER_ID, TIMESTAMP, RATING_NAME, "item_length", "label", "neg_item_id"} | {
    f"{name}_list" for name in (ITEM_ID, USER_ID, TIMESTAMP, RATING_NAME)
}


@dataclass(frozen=True)
class Items:
    """The items to write.

    Attributes:
        key: The column of ids in the table.
        ids: One for each row of the features.
        features: Those that are left out too.
        rows: Rows of the table.
        lost: Rows of the table that are not written.
        unseen: Items without an interaction.
        without_row: Items of interactions that are not in the table; they are written without features.
    """

    key: str
    ids: Sequence[str]
    features: Sequence[Feature]
    rows: int
    lost: Sequence[LostRows]
    unseen: int
    without_row: Sequence[str]

    @property
    def written(self) -> Sequence[Feature]:
        """The features that are written."""
        return [each for each in self.features if each.kind != "skip"]


def read_items(table: Source, interactions: Interactions, settings: ImportSettings) -> Items:
    """Read the items and find out the kinds of their columns.

    Raises:
        InputError: The table cannot be read, a column does not exist, or no item is one of the interactions.
    """
    told = settings.feature_settings()
    if unknown := [name for name in told if name not in table.columns]:
        raise _no_column(unknown[0], "--feature", table)
    items = _items_of(interactions)
    seen = set(items)
    sample = table.sample()
    key = _key(table, sample, interactions.columns[ITEM], seen, settings)
    if key in told:
        raise InputError(
            f"column {key!r} has the ids of the items, and is no feature",
            where="--feature",
            fix="Leave it out, or name the column of ids: --item-key COLUMN.",
        )
    skipped = [
        name for name in table.columns if name != key and name not in told and is_long_text(sample[name])
    ]
    columns = [name for name in table.columns if name not in skipped]
    chunks = list(table.chunks(columns))
    frame = pd.concat(chunks, ignore_index=True) if chunks else pd.DataFrame(columns=columns)
    ids = Ids()
    numbers = ids.number(frame[key])
    kept, lost = _usable(key, numbers, ids, frame, seen, settings)
    if malformed := table.malformed():
        lost.insert(0, LostRows("unreadable", "other fields than columns", len(malformed), malformed[0]))
    texts = ids.texts
    written = [texts[number] for number in numbers[kept]]
    if not len(frame):
        raise InputError("the table has no rows", where=table.name)
    if seen.isdisjoint(texts):
        raise DataError(
            f"no {key} is an item of the interactions: for example, {next(iter(texts), '')!r} here and "
            f"{next(iter(seen))!r} there",
            where=table.name,
            fix="Name the column that has the same ids: --item-key COLUMN.",
        )
    names: set[str] = set()
    features: list[Feature] = []
    for column in table.columns:
        if column == key:
            continue
        name = _safe_name(column, names)
        if column in skipped:
            features.append(Feature(column, name, "skip", "", "long text, or nested", (), 0, 0, ""))
            continue
        names.add(name)
        values = frame[column].to_numpy(dtype=object)[kept].tolist()
        features.append(
            _checked(read_feature(column, name, values, told.get(column), table.kinds.get(column, "")))
        )
    have = set(written)
    unseen = len(have - seen)
    without = [text for text in items if text not in have]
    return Items(key, written, features, len(frame) + len(malformed), lost, unseen, without)


def _no_column(name: str, where: str, table: Source) -> InputError:
    return InputError(
        f"there is no column {name!r}{suggest(name, table.columns)}",
        where=where,
        fix=f"The columns of {table.name}: {', '.join(table.columns[:50])}.",
    )


def _items_of(interactions: Interactions) -> list[str]:
    """The items of the interactions, in the order in which they first occur."""
    texts = interactions.item_ids.texts
    return [texts[number] for number in np.unique(interactions.items)]


def _key(
    table: Source, sample: Mapping[str, Sequence[object]], item: str, seen: set[str], settings: ImportSettings
) -> str:
    """The column of ids: as told, or of the name that it has in the interactions, or of a usual one."""
    if settings.item_key is not None:
        if settings.item_key not in table.columns:
            raise _no_column(settings.item_key, "--item-key", table)
        return settings.item_key
    if item in table.columns:
        return item
    if usual := usual_column(ITEM, table.columns):
        return usual
    return max(table.columns, key=lambda name: sum(id_text(value) in seen for value in sample[name]))


def _usable(
    key: str,
    numbers: NDArray[np.int32],
    ids: Ids,
    frame: pd.DataFrame,
    seen: Set[str],
    settings: ImportSettings,
) -> tuple[list[int], list[LostRows]]:
    """The rows to write, and those that are not."""
    texts = ids.texts
    kept: list[int] = []
    first: dict[int, int] = {}
    counts = dict.fromkeys(("missing", "unreadable", "same", "duplicates", "unseen-items"), 0)
    examples: dict[str, int] = {}
    rows: list[tuple[object, ...]] | None = None
    for row, number in enumerate(numbers.tolist()):
        why = ""
        if number == NONE:
            why = "missing"
        elif is_unreadable(texts[number]):
            why = "unreadable"
        elif "unseen-items" in settings.drop and texts[number] not in seen:
            why = "unseen-items"
        elif number in first:
            rows = rows or list(map(_comparable, frame.itertuples(index=False, name=None)))
            why = "same" if rows[row] == rows[first[number]] else "duplicates"
        if why:
            counts[why] += 1
            examples.setdefault(why, row + 1)
            continue
        first[number] = row
        kept.append(row)
    whys = {
        "missing": f"{key} is empty, or a word that RecBole reads as missing, such as NA",
        "unreadable": f"{key} {UNREADABLE}",
        "duplicates": f"{key} has an earlier row with other values",
        "unseen-items": "no interaction (--drop unseen-items)",
        "same": "the same as an earlier row",
    }
    lost = [
        LostRows(
            None if kind in ("same", "unseen-items") else kind,  # type: ignore[arg-type]
            whys[kind],
            count,
            f"row {examples[kind]}",
        )
        for kind, count in counts.items()
        if count
    ]
    return kept, lost


def _comparable(row: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(map(str, row))


def _safe_name(column: str, taken: Set[str]) -> str:
    """A name that RecBole can read in the first line of an atomic file, and that it does not use itself."""
    name = re.sub(r"\W+", "_", column).strip("_") or "feature"
    while name in taken or name in _TAKEN:
        name += "_"
    return name


def _checked(feature: Feature) -> Feature:
    """The feature; a float as it is to be written.

    Raises:
        InputError: A value of a float is no number.
    """
    if feature.kind != "float":
        return feature
    for row, text in enumerate(feature.cells, 1):
        assert isinstance(text, str)
        if text and not is_number(text):
            raise InputError(
                f"column {feature.column!r} is to be float, but row {row} has {text[:40]!r}",
                where="--feature",
                fix=f"Correct the table, or take it as --feature {feature.column!r}:token.",
            )
    return replace(feature, cells=[text.strip() for text in feature.cells if isinstance(text, str)])
