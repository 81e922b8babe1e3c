"""Configurations as points in a Euclidean space, in which distance means dissimilarity."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from sasrecf_tune.inputs.hyperparameters import length_scale
from sasrecf_tune.inputs.literals import Scalar, is_number
from sasrecf_tune.inputs.search_space import Choice, Parameter, SearchSpace, is_ordered

Axes = Callable[[Any], list[float]]  # the coordinates of a parameter's value, each from 0 to 1

# Positive values are compared by their logarithms if the largest is more than so many times the smallest.
_LOG_RATIO = 10.0


class Embedding:
    """Maps the parameters of a space to points; a distance of 1 is one length scale."""

    def __init__(self, space: SearchSpace) -> None:
        self._decode = space.decode
        self._axes = [(p.name, _axes(p), length_scale(p.name)) for p in space]

    def embed(self, params: Mapping[str, Any]) -> list[float]:
        """The point of parameters as RecBole reads them."""
        return [x / scale for name, axes, scale in self._axes for x in axes(params[name])]

    def embed_labels(self, labels: Mapping[str, Scalar]) -> list[float]:
        """The point of parameters as Optuna stores them."""
        return self.embed(self._decode(labels))


def _axes(parameter: Parameter) -> Axes:
    if not is_ordered(parameter):
        # One axis for each value: the distance of any two is 1.
        known = list(map(repr, parameter.values))
        return lambda value: [math.sqrt(0.5) if repr(value) == one else 0.0 for one in known]
    if isinstance(parameter, Choice):
        numbers = [float(x) for x in parameter.choices if is_number(x)]
        return number_axis(min(numbers), max(numbers))
    return number_axis(*map(float, parameter.bounds))


def number_axis(low: float, high: float) -> Axes:
    """The coordinate from 0 to 1 of a number between `low` and `high`; none if they are equal."""
    if high / 2 - low / 2 <= 0:  # equal, or nearer than the smallest float
        return lambda _: []
    if low > 0 and math.log(high) - math.log(low) > math.log(_LOG_RATIO):
        start, span = math.log(low), math.log(high) - math.log(low)
        return lambda value: [(math.log(value) - start) / span]
    # Halves, since the difference of the bounds may be larger than any float.
    return lambda value: [(value / 2 - low / 2) / (high / 2 - low / 2)]
