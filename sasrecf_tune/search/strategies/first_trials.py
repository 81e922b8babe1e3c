"""The first trials of a search: spread over the space, most evenly in the parameters that matter most."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sasrecf_tune.inputs.hyperparameters import length_scale
from sasrecf_tune.inputs.literals import Scalar, Value, exact
from sasrecf_tune.inputs.search_space import Choice, Parameter, SearchSpace, is_ordered
from sasrecf_tune.search.policy import Labels
from sasrecf_tune.search.strategies.parameter_vectors import Embedding, number_axis

Floats = NDArray[np.float64]
Position = Callable[[Any], float]  # where a value lies in its parameter's range, from 0 to 1

# So many trials are proposed without a look at scores, so that they are the same for any number of workers.
FIRST_TRIALS = 4
# Values are far enough from those of earlier trials at this share of the greatest distance there is.
_FAR_ENOUGH = 0.75


class FirstTrials:
    """Proposes configurations that are far from earlier ones, in each parameter by itself.

    Of the candidates, those stay whose learning rate is farthest from the learning rates of earlier trials,
    and of these the ones that are farthest in the next parameter. The order is that of the length scales in
    the table of hyperparameters, the shortest first: there the score changes most.

    Args:
        start: Parameters as RecBole reads them; the first proposal is the candidate next to them.
    """

    def __init__(self, space: SearchSpace, embedding: Embedding, start: Mapping[str, Any]) -> None:
        self._decode = space.decode
        self._embedding = embedding
        self._start = np.array(embedding.embed(start))
        by_importance = sorted((p for p in space if p.size != 1), key=lambda p: length_scale(p.name))
        self._gaps = [(p.name, _gap(p)) for p in by_importance]

    def next(self, earlier: Sequence[Mapping[str, Scalar]], candidates: Sequence[Labels]) -> Labels:
        """The candidate to try after the trials `earlier`; all are parameters as Optuna stores them."""
        if not earlier:
            return candidates[int(self._distances(candidates, self._start[None]).argmin())]
        tried = [self._decode(labels) for labels in earlier]
        left = list(candidates)
        for name, gap in self._gaps:
            others = [values[name] for values in tried]
            gaps = [gap(self._decode(labels)[name], others) for labels in left]
            least = max(gaps) * (_FAR_ENOUGH if max(gaps) > 0 else 1)
            left = [labels for labels, one in zip(left, gaps, strict=True) if one >= least]
        points = np.array([self._embedding.embed_labels(labels) for labels in earlier])
        return left[int(self._distances(left, points).argmax())]

    def _distances(self, candidates: Sequence[Labels], points: Floats) -> Floats:
        """The squared distance of each candidate to the nearest of `points` [n, d]."""
        own = np.array([self._embedding.embed_labels(labels) for labels in candidates])
        distances: Floats = ((own[:, None] - points[None]) ** 2).sum(axis=2).min(axis=1)
        return distances


def _gap(parameter: Parameter) -> Callable[[Value, Sequence[Value]], float]:
    """How far a value is from the values of other trials; for one of them, minus how often it occurs.

    A bound is as far as twice its distance, so that values lie within a range and not on its bounds.
    """
    position = _position(parameter)

    def gap(value: Value, others: Sequence[Value]) -> float:
        own = exact(value)
        if repeats := sum(exact(other) == own for other in others):
            return -float(repeats)
        if position is None:
            return 1.0
        x = position(value)
        return min([abs(x - position(other)) for other in others] + [2 * x, 2 * (1 - x)])

    return gap


def _position(parameter: Parameter) -> Position | None:
    """Where a value lies in the range; None for categories, which have no distances."""
    if isinstance(parameter, Choice):
        if not is_ordered(parameter):
            return None
        # At equal distances: whoever lists values means each of them to be tried.
        order = sorted(parameter.choices, key=lambda value: float(str(value)))
        place = {exact(value): (index + 0.5) / len(order) for index, value in enumerate(order)}
        return lambda value: place[exact(value)]
    axis = number_axis(*map(float, parameter.bounds))
    if not axis(parameter.bounds[0]):
        return None
    size = parameter.size
    # The first and last of a few values lie within the range, as in a list.
    return lambda value: axis(value)[0] if size is None else (axis(value)[0] * (size - 1) + 0.5) / size
