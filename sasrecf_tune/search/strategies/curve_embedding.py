"""Configurations as points for the Gaussian process over learning curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sasrecf_tune.inputs.literals import Scalar, is_number
from sasrecf_tune.inputs.search_space import Choice, Parameter, SearchSpace, is_ordered
from sasrecf_tune.search.strategies.curve_constants import CurveConstants

Floats = NDArray[np.float64]
Axes = Callable[[Any], list[float]]  # the coordinates of a parameter's value

# These decide where a curve ends, which epochs have a score, or which run it is, and not what is learned.
NOT_LEARNED = frozenset({"epochs", "eval_step", "stopping_step", "seed"})
# Their distances mean the same in every space; those of other parameters are shares of the range.
_LOGARITHMS = frozenset({"learning_rate"})
_AS_THEY_ARE = frozenset({"hidden_dropout_prob", "attn_dropout_prob"})
# Positive values are compared by their logarithms if the largest is more than so many times the smallest.
_LOG_RATIO = 10.0
_SMALLEST_LOGARITHM = 1e-8


class Embedding:
    """Maps configurations to coordinates [d], of which parameters have none, one, or one for each value."""

    def __init__(self, space: SearchSpace) -> None:
        self._decode = space.decode
        learned = [p for p in space if p.name not in NOT_LEARNED]
        self._axes = [(p.name, _axes(p)) for p in learned]
        self.names = [p.name for p, (_, axes) in zip(learned, self._axes, strict=True) for _ in axes(_any(p))]

    def embed(self, many: Iterable[Mapping[str, Scalar]]) -> Floats:
        """The coordinates [configurations, d] of labels."""
        rows = [self.embed_one(labels) for labels in many]
        return np.array(rows, dtype=float).reshape(len(rows), len(self.names))

    def scales(self, constants: CurveConstants) -> tuple[Floats, Floats]:
        """The lengths [d] of level and shape along each coordinate."""
        lengths = [constants.lengths.get(name, constants.other) for name in self.names]
        return np.array([one.level for one in lengths]), np.array([one.shape for one in lengths])

    def embed_one(self, labels: Mapping[str, Scalar]) -> list[float]:
        """The coordinates [d] of labels."""
        params = self._decode(labels)
        return [x for name, axes in self._axes for x in axes(params[name])]


def _any(parameter: Parameter) -> Any:
    return parameter.choices[0] if isinstance(parameter, Choice) else parameter.bounds[0]


def _axes(parameter: Parameter) -> Axes:
    if not is_ordered(parameter):
        # One axis for each value: the distance of any two is 1.
        known = list(map(repr, parameter.values))
        return lambda value: [math.sqrt(0.5) if repr(value) == one else 0.0 for one in known]
    if isinstance(parameter, Choice):
        numbers = [float(x) for x in parameter.choices if is_number(x)]
        low, high = min(numbers), max(numbers)
    else:
        low, high = map(float, parameter.bounds)
    if parameter.name in _LOGARITHMS and low >= 0 and high > 0:
        return lambda value: [math.log(max(float(value), _SMALLEST_LOGARITHM))]
    if parameter.name in _AS_THEY_ARE:
        return lambda value: [float(value)]
    return number_axis(low, high)


def number_axis(low: float, high: float) -> Axes:
    """The coordinate from 0 to 1 of a number between `low` and `high`; none if they are equal."""
    if high / 2 - low / 2 <= 0:  # equal, or nearer than the smallest float
        return lambda _: []
    if low > 0 and math.log(high) - math.log(low) > math.log(_LOG_RATIO):
        start, span = math.log(low), math.log(high) - math.log(low)
        return lambda value: [(math.log(value) - start) / span]
    # Halves, since the difference of the bounds may be larger than any float.
    return lambda value: [(value / 2 - low / 2) / (high / 2 - low / 2)]
