"""Parameters as points, so that near means alike: what the surrogate of the search measures distances in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from sasrecf_tune.inputs.hyperparameters import length_scale
from sasrecf_tune.inputs.literals import Scalar, Value, is_number
from sasrecf_tune.inputs.search_space import Choice, Parameter, SearchSpace

Coordinate = Callable[[Any], list[float]]

# Positive values that span more than this are compared by their logarithms.
_LOG_FROM = 10.0


class Embedding:
    """Maps RecBole values of a space's parameters to points; distance 1 is where likeness ends."""

    def __init__(self, space: SearchSpace) -> None:
        self._decode = space.decode
        self._parts = [(p.name, _coordinate(p), length_scale(p.name)) for p in space]

    def point(self, params: Mapping[str, Any]) -> list[float]:
        """The point of these parameters; the same length for all."""
        return [x / scale for name, part, scale in self._parts for x in part(params[name])]

    def of(self, labels: Mapping[str, Scalar]) -> list[float]:
        """The point of what Optuna stores."""
        return self.point(self._decode(labels))


def _coordinate(parameter: Parameter) -> Coordinate:
    if isinstance(parameter, Choice):
        return _of_choice(parameter.choices)
    return _scaled(*map(float, parameter.bounds))


def _of_choice(choices: tuple[Value, ...]) -> Coordinate:
    numbers = [float(x) for x in choices if is_number(x)]
    if len(set(numbers)) == len(choices):
        return _scaled(min(numbers), max(numbers))
    # One axis for each value: all are equally far from each other, at distance 1.
    known = [repr(choice) for choice in choices]
    return lambda value: [math.sqrt(0.5) if repr(value) == one else 0.0 for one in known]


def _scaled(low: float, high: float) -> Coordinate:
    if high <= low:
        return lambda _: []
    if low > 0 and math.log(high) - math.log(low) > math.log(_LOG_FROM):
        start, span = math.log(low), math.log(high) - math.log(low)
        return lambda value: [(math.log(value) - start) / span]
    # Halves, since bounds may be so far apart that their difference is no float.
    return lambda value: [(value / 2 - low / 2) / (high / 2 - low / 2)]
