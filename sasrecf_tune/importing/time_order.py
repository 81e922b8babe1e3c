"""Writes times as numbers that float32 holds exactly, so that RecBole keeps their order.

RecBole reads times as float32, which has 24 bits: seconds since 1970 are then 128 apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sasrecf_tune.importing.times import TimeColumn

# float32 holds all whole numbers up to this one.
LARGEST = 1 << 24


@dataclass(frozen=True)
class ExactTimes:
    """Times as RecBole reads them.

    Attributes:
        values: Whole numbers up to `LARGEST`.
        how: What they are, as a sentence for people.
    """

    values: NDArray[np.int32]
    how: str


def exact_times(
    column: TimeColumn, times: NDArray[np.int64] | NDArray[np.float64], users: NDArray[np.int32]
) -> ExactTimes:
    """Replace times by numbers of the same order that float32 holds exactly; equal ones stay equal.

    Args:
        column: The column that the `times` are from.
        times: Those of the rows to write.
        users: The user of each row.

    Returns:
        The first of these that float32 holds: the times themselves; their distance from the first one, in
        the largest unit that all distances are multiples of; their rank among all times; their rank among the
        times of the same user.
    """
    if times.dtype.kind == "i":
        low, high = int(times.min()), int(times.max())
        if column.scale == 1 and not column.dates and low >= -LARGEST and high <= LARGEST:
            return ExactTimes(times.astype(np.int32), "the times of the table, which float32 holds exactly")
        # Unsigned: the distance of two 64-bit numbers can be larger than the largest of them.
        distances = times.astype(np.uint64) - np.uint64(low % (1 << 64))
        unit = int(np.gcd.reduce(distances)) or 1
        if (high - low) // unit <= LARGEST:
            return ExactTimes(
                (distances // np.uint64(unit)).astype(np.int32),
                f"the distance from the first time{_unit_text(unit, column)}",
            )
    ranks = _ranks(times)
    if int(ranks.max()) < LARGEST:
        return ExactTimes(
            (ranks + 1).astype(np.int32),
            "the rank of the time among all times (1, 2, 3, ...; equal times are equal)",
        )
    return ExactTimes(
        _ranks_of_user(ranks, users), "the rank of the time among those of the same user (1, 2, 3, ...)"
    )


def _ranks(times: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.int64]:
    """The place of each among the different times, from 0."""
    return np.unique(times, return_inverse=True)[1].astype(np.int64).reshape(-1)


def _ranks_of_user(ranks: NDArray[np.int64], users: NDArray[np.int32]) -> NDArray[np.int32]:
    order = np.lexsort((ranks, users))
    by_user, by_rank = users[order], ranks[order]
    starts = np.append(True, by_user[1:] != by_user[:-1])
    steps = np.cumsum(starts | np.append(True, by_rank[1:] != by_rank[:-1]))
    first = np.maximum.accumulate(np.where(starts, steps, 0))
    found = np.empty(len(ranks), dtype=np.int32)
    found[order] = steps - first + 1
    return found


def _unit_text(unit: int, column: TimeColumn) -> str:
    """Such as ", divided by 86,400" or, of dates, " in days"."""
    if not column.dates:
        if unit == column.scale:
            return ""
        divisor = f"{unit / column.scale:,.9g}" if unit % column.scale else f"{unit // column.scale:,}"
        return f", divided by {divisor}"
    for length, name in (
        (86_400 * 10**9, "day"),
        (3600 * 10**9, "hour"),
        (60 * 10**9, "minute"),
        (10**9, "second"),
    ):
        if unit % length == 0:
            count = unit // length
            return f" in {name}s" if count == 1 else f" in units of {count:,} {name}s"
    return f" in units of {unit / 10**9:.9g} seconds"
