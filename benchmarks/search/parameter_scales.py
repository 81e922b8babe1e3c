"""Configurations as points, for distances between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.search.curve_table import Floats
from sasrecf_tune.inputs.literals import Scalar, is_number
from sasrecf_tune.inputs.search_space import Choice, Log, LogUniform, SearchSpace, is_ordered

# A range of values this many times as wide as its least value is taken by logarithm.
_WIDE = 8.0


def scaled(space: SearchSpace, cells: Sequence[Mapping[str, Scalar]]) -> Floats:
    """Return [cells, columns] in 0 to 1.

    There is a column for each parameter with an order, and one for each value of the others. Values are
    scaled to the bounds of the space, by logarithm where the space says so or they span much.
    """
    columns: list[Floats] = []
    for parameter in space:
        labels = [cell[parameter.name] for cell in cells]
        if isinstance(parameter, Choice) and not is_ordered(parameter):
            columns += [
                np.array([float(label == value) for label in labels]) / np.sqrt(2.0)
                for value in parameter.labels
            ]
            continue
        values = [float(value) for label in labels if is_number(value := parameter.value(label))]
        known = parameter.values if isinstance(parameter, Choice) else parameter.bounds
        low, high = min(map(float, known)), max(map(float, known))  # type: ignore[arg-type]
        column, ends = np.array(values), np.array([low, high])
        wide = isinstance(parameter, Log | LogUniform) or (low > 0 and high / low > _WIDE)
        if wide:
            column, ends = np.log(column), np.log(ends)
        columns.append((column - ends[0]) / max(ends[1] - ends[0], 1e-12))
    return np.stack(columns, axis=1)
