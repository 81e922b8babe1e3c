"""Random configurations of a space that cannot be listed."""

from __future__ import annotations

import math

import numpy as np

from sasrecf_tune.inputs.literals import Value
from sasrecf_tune.inputs.search_space import Log, LogUniform, Parameter, SearchSpace, Uniform

# Significant digits of real values, so that a table is small and reads back equal.
_DIGITS = 4


def random_points(space: SearchSpace, count: int, seed: int) -> list[dict[str, Value]]:
    """Return `count` configurations; the first ones are the same for every count."""
    draw = np.random.default_rng(seed)
    return [{one.name: _random_value(one, draw) for one in space} for _ in range(count)]


def _random_value(parameter: Parameter, draw: np.random.Generator) -> Value:
    match parameter:
        case Uniform():
            value = draw.uniform(*parameter.bounds)
        case Log() | LogUniform():
            low, high = parameter.bounds
            value = math.exp(draw.uniform(math.log(low), math.log(high)))
        case _:
            return parameter.values[int(draw.integers(len(parameter.values)))]
    low, high = parameter.bounds
    return min(max(float(f"{value:.{_DIGITS}g}"), low), high)
