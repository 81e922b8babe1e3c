"""Finds histories whose order changes because RecBole stores times as float32.

RecBole stores a time as float32, where seconds since 1970 are 128 apart, and then sorts. Rows whose times
became equal keep the order of the file.
Source: recbole/data/dataset/dataset.py, _dataframe_to_interaction; recbole/data/interaction.py, sort.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

# Odd, so that a product modulo 2**64 loses nothing.
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)
_WORD = 8
# No number is longer than that.
_LONGEST_TIME = 48
# Times of the years 1973 to 2286, in units since 1970: from which number on, and units a second.
_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3), (1e8, 1.0))


@dataclass(frozen=True)
class Fields:
    """The values of a column: where each begins and ends in `codes`, [rows]."""

    codes: NDArray[np.uint8]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]

    @classmethod
    def of(cls, values: Sequence[bytes]) -> Fields:
        """Return the fields with these values."""
        ends = np.cumsum([len(value) for value in values])
        codes = np.frombuffer(b"".join(values), dtype=np.uint8)
        return cls(codes, np.append(0, ends[:-1]), ends)

    def chunk(self, rows: NDArray[np.int64], offset: int, size: int) -> NDArray[np.uint8]:
        """Return `size` bytes of each of the `rows` from `offset` on, 0 after the end, [rows, size]."""
        places = self.begin[rows, None] + np.arange(offset, offset + size)
        inside = places < self.end[rows, None]
        return np.where(inside, self.codes[np.minimum(places, len(self.codes) - 1)], np.uint8(0))

    def hashes(self) -> NDArray[np.uint64]:
        """Return 64 bits for each value, which almost certainly differ for different values."""
        width = self.end - self.begin
        found = width.astype(np.uint64)
        rows = np.arange(len(width))
        for offset in range(0, int(width.max(initial=0)), _WORD):
            rows = rows[width[rows] > offset]
            words = self.chunk(rows, offset, _WORD).view(np.uint64)[:, 0]
            mixed = (found[rows] ^ words) * _MULTIPLIER
            found[rows] = mixed ^ (mixed >> _SHIFT)
        return found

    def numbers(self) -> NDArray[np.float64]:
        """Return the values as numbers.

        Raises:
            ValueError: One of them is not a number.
        """
        width = min(int((self.end - self.begin).max(initial=0)), _LONGEST_TIME)
        texts = np.ascontiguousarray(self.chunk(np.arange(len(self.begin)), 0, width))
        return texts.view(f"S{width}")[:, 0].astype(np.float64)


@dataclass
class TimePrecision:
    """Compares the order of histories by the times of a file with that by the same times as float32."""

    _blocks: list[tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.uint64], NDArray[np.float64]]] = (
        field(default_factory=list)
    )
    _readable: bool = True

    def add(self, lines: NDArray[np.int64], users: Fields, items: Fields, times: Fields) -> None:
        """Add rows. A time that is not a number is an error that is reported elsewhere."""
        if len(lines) and self._readable:
            try:
                self._blocks.append((lines, users.hashes(), items.hashes(), times.numbers()))
            except ValueError:
                self._readable = False

    def note(self, name: str, normalized: bool) -> list[str]:
        """Return a note on the users whose order of interactions changes; empty if there are none.

        Args:
            name: The column of times.
            normalized: Whether RecBole scales the times to [0, 1] before it stores them.
        """
        if not self._blocks or not self._readable:
            return []
        lines, users, items, times = map(np.concatenate, zip(*self._blocks, strict=True))
        if (lines[1:] < lines[:-1]).any():  # rows with quotes are added after the others of their block
            by_line = np.argsort(lines)
            users, items, times = users[by_line], items[by_line], times[by_line]
        with np.errstate(over="ignore", invalid="ignore"):  # an infinite time is reported elsewhere
            stored = (times - times.min()) / (np.ptp(times) or 1.0) if normalized else times
            rounded = stored.astype(np.float32)
        if np.array_equal(rounded, stored):
            return []
        place = np.lexsort((times, users))  # stable: in the file, of each row by user and time
        users, rounded = users[place], rounded[place]
        starts_user = np.append(True, users[1:] != users[:-1])
        # Rounding swaps no two times. It only makes some equal, and such rows are in the order of the file.
        starts_time = starts_user | np.append(True, rounded[1:] != rounded[:-1])
        changed = ~starts_time[1:] & (place[1:] < place[:-1])
        if not changed.any():
            return []
        other_order = len(np.unique(users[1:][changed]))
        last = np.append(starts_user[1:], True)
        last_of_time = np.maximum.reduceat(place, np.flatnonzero(starts_time))
        last_rounded = last_of_time[np.cumsum(starts_time)[last] - 1]
        other_last = int(np.count_nonzero(items[place[last]] != items[last_rounded]))
        count = len(last_rounded)
        stands = "" if normalized else f", which are {_distance(times)} apart"
        return [
            f"{name}: RecBole reads times as float32 numbers{stands}: {other_order:,} of {count:,} users "
            f"get another order and {other_last:,} ({other_last / count:.1%}) another last item than by the "
            "exact times; `sasrecf-tune import FILE --out data/NAME` writes times that keep the order"
        ]


def _distance(times: NDArray[np.float64]) -> str:
    """Return how far apart two different times are at least after rounding, where they are largest."""
    largest = float(np.abs(times).max())
    spacing = float(np.spacing(np.float32(largest)))
    per_second = next((units for start, units in _UNITS if start <= largest < 100 * start), None)
    return f"{spacing:.3g}" if per_second is None else f"{spacing / per_second:.3g} s"
