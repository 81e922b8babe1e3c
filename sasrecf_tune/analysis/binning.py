"""The values of a parameter as a few levels: single values, or ranges if there are many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sasrecf_tune.inputs.literals import is_number
from sasrecf_tune.trials import TrialRecord, cell_text, value_order

# A numeric parameter with more values than this is cut into ranges with equally many trials.
MOST_VALUES = 6
RANGES = 4


@dataclass(frozen=True)
class Binned:
    """A parameter's levels.

    Args:
        labels: Text of each level, numbers in ascending order.
        level_of: Index into `labels` by trial number.
        ranges: Whether the levels are ranges of values.
    """

    name: str
    labels: tuple[str, ...]
    level_of: dict[int, int]
    ranges: bool = False


def binned(
    name: str, records: Sequence[TrialRecord], most: int = MOST_VALUES, ranges: int = RANGES
) -> Binned:
    """Assign the records that have parameter `name` to levels.

    More than `most` different numbers become `ranges` ranges.
    """
    having = [record for record in records if name in record.params]
    values = [record.params[name] for record in having]
    if len({cell_text(value) for value in values}) > most and all(map(is_number, values)):
        return _ranges(name, having, np.array(values, dtype=float), ranges)
    order = sorted(
        {cell_text(value): value for value in values}.items(), key=lambda item: value_order(item[1])
    )
    labels = tuple(text for text, _ in order)
    index = {text: place for place, text in enumerate(labels)}
    return Binned(name, labels, {record.number: index[cell_text(record.params[name])] for record in having})


def _ranges(name: str, records: Sequence[TrialRecord], values: NDArray[np.float64], count: int) -> Binned:
    labels, level = quantile_ranges(values, count, "{:.3g}")
    level_of = {record.number: int(index) for record, index in zip(records, level, strict=True)}
    return Binned(name, tuple(labels), level_of, ranges=True)


def quantile_ranges(values: NDArray[Any], count: int, form: str) -> tuple[list[str], NDArray[np.int64]]:
    """Assign values to at most `count` ranges with about equally many, equal ones to the same.

    Args:
        form: How a bound is written, for str.format.

    Returns:
        The text of each range, and the index of the range of each value.
    """
    cuts = np.unique(np.quantile(values, np.linspace(0, 1, count + 1)[1:-1], method="higher"))
    levels: NDArray[np.int64] = np.unique(np.searchsorted(cuts, values, side="right"), return_inverse=True)[1]
    labels = []
    for level in range(levels.max() + 1):
        inside = values[levels == level]
        low, high = form.format(inside.min()), form.format(inside.max())
        labels.append(low if low == high else f"{low} to {high}")
    return labels, levels
