"""Histories to recommend for: the items of each user, in time order, as rows of the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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
    """

    users: NDArray[np.object_]
    items: NDArray[Any]
    ends: NDArray[np.int64]
    unknown_items: int = 0
    examples: tuple[str, ...] = ()

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


@dataclass
class HistoryBuilder:
    """Collects interactions in any order of users; those of a user come in time order or have times.

    Attributes:
        index: The original ids of the items, in the order of the rows of the model from 1.
    """

    index: pd.Index[Any]
    _codes: dict[str, int] = field(default_factory=dict)
    _users: list[NDArray[np.int32]] = field(default_factory=list)
    _items: list[NDArray[np.int32]] = field(default_factory=list)
    _times: list[NDArray[np.float64]] = field(default_factory=list)
    _unknown: int = 0
    _examples: dict[str, None] = field(default_factory=dict)

    def add(
        self, users: NDArray[np.object_], items: NDArray[np.object_], times: NDArray[np.float64] | None = None
    ) -> None:
        """Add interactions: the original ids of their users and items, and their times."""
        codes, names = pd.factorize(users)
        known = self._codes
        of_name = np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int32)
        rows = self.index.get_indexer(pd.Index(items, dtype=object)).astype(np.int32) + 1
        found = rows > 0
        if not found.all():
            missing = items[~found]
            self._unknown += len(missing)
            for name in missing[: 100 * _EXAMPLES]:
                if len(self._examples) < _EXAMPLES:
                    self._examples[str(name)] = None
        self._users.append(of_name[codes[found]])
        self._items.append(rows[found])
        if times is not None:
            self._times.append(times[found])

    def build(self) -> Histories:
        """Return the histories, users in the order of their first interaction."""
        empty = np.zeros(0, dtype=np.int32)
        users = np.concatenate([empty, *self._users])
        items = np.concatenate([empty, *self._items])
        if self._times:
            by_time = np.argsort(np.concatenate(self._times), kind="stable")
            users, items = users[by_time], items[by_time]
        order = np.argsort(users, kind="stable")
        ends = np.cumsum(np.bincount(users, minlength=len(self._codes)))
        names = np.array(list(self._codes), dtype=object)
        return Histories(names, items[order], ends, self._unknown, tuple(self._examples))


def from_mapping(histories: Mapping[Any, Sequence[Any]], index: pd.Index[Any]) -> Histories:
    """Return the histories of a mapping of users to their items; ids are taken as text."""
    builder = HistoryBuilder(index)
    users = [str(user) for user in histories]
    items = [list(map(str, each)) for each in histories.values()]
    builder.add(np.array([], dtype=object), np.array([], dtype=object))
    # Users without items, too.
    for user in users:
        builder._codes.setdefault(user, len(builder._codes))
    flat = np.array([item for each in items for item in each], dtype=object)
    builder.add(np.repeat(np.array(users, dtype=object), [len(each) for each in items]), flat)
    return builder.build()


def known_users(histories: Histories, users: Iterable[str]) -> tuple[Histories, list[str]]:
    """Return the histories of those `users` that have one, and the other users."""
    wanted = list(dict.fromkeys(users))
    places = pd.Index(histories.users).get_indexer(pd.Index(wanted, dtype=object))
    known = places[places >= 0].astype(np.int64)
    unknown = [user for user, place in zip(wanted, places.tolist(), strict=True) if place < 0]
    return histories.select(known), unknown
