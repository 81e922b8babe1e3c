"""Histories to recommend for: the items of each user, in time order, as rows of the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sasrecf_tune.importing.ids import Ids

# The number of unknown ids that a message names.
_EXAMPLES = 3


@dataclass(frozen=True)
class Histories:
    """Histories in one array.

    Attributes:
        users: The users' original ids, [users].
        items: The rows of items, by user and then by time, [interactions].
        ends: The end of each user's history in `items`, [users].
        unknown_items: How often items occur that the model does not know, which are left out.
        examples: Some of these items.
        missing: How many interactions had no user or no item.
    """

    users: NDArray[np.object_]
    items: NDArray[Any]
    ends: NDArray[np.int64]
    unknown_items: int = 0
    examples: tuple[str, ...] = ()
    missing: int = 0

    def __len__(self) -> int:
        return len(self.users)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of items of each user, [users]."""
        return np.diff(self.ends, prepend=0)

    def part(self, low: int, high: int) -> Histories:
        """Return the users from `low` to `high` - 1."""
        start = int(self.ends[low - 1]) if low else 0
        ends = self.ends[low:high] - start
        return Histories(self.users[low:high], self.items[start : start + int(ends[-1])], ends)

    def select(self, places: NDArray[np.int64]) -> Histories:
        """Return the users at `places`, in this order."""
        lengths = self.lengths[places]
        ends = np.cumsum(lengths)
        # The place of each item: the start of its history, and its place in that.
        shift = np.repeat((self.ends[places] - lengths) - (ends - lengths), lengths)
        return Histories(self.users[places], self.items[np.arange(len(shift)) + shift], ends)


def from_interactions(
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    user_ids: Sequence[str],
    item_ids: Sequence[str],
    index: pd.Index[Any],
    times: NDArray[Any] | None = None,
) -> Histories:
    """Return the histories of interactions in any order of users.

    Args:
        users, items: Numbers in `user_ids` and `item_ids`; negative ones are missing, [interactions].
        index: The original ids of the items, in the order of the rows of the model from 1.
        times: Default: the interactions of a user are in time order.
    """
    given = (users >= 0) & (items >= 0)
    rows = index.get_indexer(pd.Index(item_ids, dtype=object)).astype(np.int32) + 1
    known = given & (np.append(rows, 0)[items] > 0)
    unknown = items[given & ~known]
    examples = tuple(item_ids[number] for number in dict.fromkeys(unknown[: 100 * _EXAMPLES].tolist()))
    if times is not None:
        by_time = np.argsort(times, kind="stable")
        users, items, known = users[by_time], items[by_time], known[by_time]
    users, items = users[known], items[known]
    order = np.argsort(users, kind="stable")
    ends = np.cumsum(np.bincount(users, minlength=len(user_ids)))
    missing = len(given) - int(np.count_nonzero(given))
    return Histories(
        np.array(user_ids, dtype=object),
        rows[items[order]],
        ends,
        len(unknown),
        examples[:_EXAMPLES],
        missing,
    )


def from_mapping(histories: Mapping[Any, Sequence[Any]], index: pd.Index[Any]) -> Histories:
    """Return the histories of a mapping of users to their items; ids are taken as text."""
    codes: dict[str, int] = {}
    numbers = [codes.setdefault(str(user), len(codes)) for user in histories]
    users = np.repeat(np.array(numbers, dtype=np.int32), [len(each) for each in histories.values()])
    ids = Ids()
    flat = [item for each in histories.values() for item in each]
    items = ids.number(pd.Series(flat, dtype=object))
    return from_interactions(users, items, list(codes), ids.texts, index)


def known_users(histories: Histories, users: Iterable[str]) -> tuple[Histories, list[str]]:
    """Return the histories of those `users` that have one, and the other users."""
    wanted = list(dict.fromkeys(users))
    places = pd.Index(histories.users).get_indexer(pd.Index(wanted, dtype=object))
    known = places[places >= 0].astype(np.int64)
    unknown = [user for user, place in zip(wanted, places.tolist(), strict=True) if place < 0]
    return histories.select(known), unknown
