"""Whether the best configuration lies on a bound of the search space, and how to search beyond it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sasrecf_tune.errors import InputError
from sasrecf_tune.inputs.constraints import resolve, violations
from sasrecf_tune.inputs.hyperparameters import TABLE
from sasrecf_tune.inputs.literals import is_number
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.search_space import (
    Choice,
    Int,
    Log,
    LogUniform,
    Parameter,
    QUniform,
    SearchSpace,
    Uniform,
    is_ordered,
)
from sasrecf_tune.inputs.validation import check_space
from sasrecf_tune.inputs.value_checks import check_value
from sasrecf_tune.trials import State, TrialRecord

# A value of an infinite range is on its bound if it is this near, as a share of the range.
_NEAR = 0.02
# A range of a logarithmic parameter is widened by a factor between these, a list by at most the second.
_LEAST_FACTOR, _MOST_FACTOR = 2.0, 10.0
# A list whose last value is this many times the one before it goes on with the same ratio.
_GEOMETRIC = 3.0
# Sizes, which are powers of two by custom.
_DOUBLED = frozenset({"hidden_size", "inner_size", "n_heads", "train_batch_size"})


@dataclass(frozen=True)
class AtBound:
    """A parameter of the best configuration that lies on a bound.

    Args:
        bound: "lower" or "upper".
        line: The parameter with a wider range, as a line of a params file.
    """

    name: str
    value: int | float
    bound: str
    line: str


def at_bounds(
    best: Mapping[str, Any], records: Iterable[TrialRecord], space: SearchSpace, base: Mapping[str, Any]
) -> list[AtBound]:
    """Return the parameters of `best` on a bound that is not the limit of what RecBole takes.

    Args:
        best: The parameters of the best configuration.
        records: All trials; parameters with one value among the completed ones are left out.
        base: The RecBole configuration that all trials share.
    """
    complete = [record.params for record in records if record.state == State.COMPLETE]
    found = []
    for parameter in space:
        value = best.get(parameter.name)
        known = TABLE.get(parameter.name)
        if (
            not is_number(value)
            or known is None
            or known.kind not in ("int", "float")
            or known.name == "seed"
        ):
            continue
        if not is_ordered(parameter) or len({repr(params.get(known.name)) for params in complete}) < 2:
            continue
        for upper in (False, True):
            if not _is_on_bound(parameter, value, upper):
                continue
            wider = _widened(parameter, upper)
            if wider is not None and _is_legal(wider, upper, best, base):
                bound = "upper" if upper else "lower"
                found.append(AtBound(known.name, value, bound, wider.write()))
    return found


def _is_on_bound(parameter: Parameter, value: float, upper: bool) -> bool:
    low, high = _ends(parameter)
    if low == high:
        return False
    if isinstance(parameter, Uniform | Log | LogUniform):
        if not isinstance(parameter, Uniform):
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (high - value if upper else value - low) <= _NEAR * (high - low)
    return value == (high if upper else low)


def _ends(parameter: Parameter) -> tuple[float, float]:
    if isinstance(parameter, Choice):
        numbers = [value for value in parameter.choices if is_number(value)]
        return min(numbers), max(numbers)
    return parameter.bounds


def _widened(parameter: Parameter, upper: bool) -> Parameter | None:
    """The parameter with a range that reaches further up or down, None where RecBole takes no more."""
    match parameter:
        case Choice():
            numbers = sorted(value for value in parameter.choices if is_number(value))
            value = _next(parameter.name, numbers if upper else numbers[::-1])
            # Where the list descends, a larger value comes first.
            first = (parameter.choices[0] == numbers[0]) != upper
            choices = (value, *parameter.choices) if first else (*parameter.choices, value)
            return None if value in numbers else Choice(parameter.name, choices)
        case Uniform():
            span = parameter.high - parameter.low
            end = parameter.high + span / 2 if upper else parameter.low - span / 2
            end = _rounded(_legal(parameter.name, end, parameter.high if upper else parameter.low))
            return _replaced(parameter, end, upper)
        case Log():
            factor = _factor(parameter.high / parameter.low)
            end = float(f"{parameter.high * factor if upper else parameter.low / factor:.2g}")
            end = _rounded(_legal(parameter.name, end, parameter.high if upper else parameter.low))
            return _replaced(parameter, end, upper)
        case LogUniform():
            low, high = parameter.bounds
            factor = _factor(high / low)
            end = _legal(parameter.name, high * factor if upper else low / factor, high if upper else low)
            exponent = math.log(end) * 10
            # Rounded inwards, so that a legal limit is kept.
            return _replaced(parameter, (math.floor if upper else math.ceil)(exponent) / 10, upper)
        case Int() | QUniform():
            return _more_steps(parameter, upper)


def _more_steps(parameter: Int | QUniform, upper: bool) -> Parameter | None:
    """Half as many steps again, or as many as RecBole takes; half a step where it takes no whole one."""
    whole = isinstance(parameter, Int) or parameter.whole
    step = parameter.step if isinstance(parameter, Int) else parameter.q
    low, high = parameter.bounds
    bound, sign = (high, 1) if upper else (low, -1)
    wanted = bound + sign * max(1, round((high - low) / 2 / step)) * step
    room = abs(_legal(parameter.name, wanted, bound) - bound)
    steps = math.floor(room / step + 1e-9)
    if not steps and room >= step / 2 and (not whole or step % 2 == 0):
        step = step // 2 if whole else step / 2
        steps = 1
    if not steps:
        return None
    end = bound + sign * steps * step
    low, high = (low, end) if upper else (end, high)
    if whole:
        kind = type(parameter)
        return kind(parameter.name, int(low), int(high), int(step))
    return QUniform(parameter.name, _rounded(low), _rounded(high), step)


def _replaced(parameter: Uniform | Log | LogUniform, end: float, upper: bool) -> Parameter | None:
    """The parameter with another upper or lower bound, None if it is not wider."""
    if (end <= parameter.high) if upper else (end >= parameter.low):
        return None
    changed: dict[str, Any] = {"high" if upper else "low": end}
    return replace(parameter, **changed)


def _next(name: str, numbers: Sequence[float]) -> int | float:
    """The value that follows the last two of a list, within what RecBole takes."""
    before, last = numbers[-2:]
    value = last + (last - before)
    if before > 0 and last > 0:
        ratio = max(1 / _MOST_FACTOR, min(_MOST_FACTOR, last / before))
        is_geometric = max(ratio, 1 / ratio) >= _GEOMETRIC or _legal(name, value, last) != value
        if name in _DOUBLED:
            value = last * (2 if last > before else 0.5)
        elif is_geometric:
            value = float(f"{last * ratio:.2g}")
    value = _rounded(_legal(name, value, last))
    is_whole = TABLE[name].kind == "int" or (value.is_integer() and all(isinstance(n, int) for n in numbers))
    return int(value) if is_whole else value


def _legal(name: str, end: float, bound: float) -> float:
    """`end`, or if RecBole does not take it the limit; half-way to a limit that is excluded.

    A probability of 1 is legal, but nothing is learnt where all elements are dropped.
    """
    known = TABLE[name]
    if end < known.low or (known.open_low and end <= known.low):
        return (known.low + bound) / 2 if known.open_low else known.low
    if name.endswith("dropout_prob") and end >= 1:
        return (1 + bound) / 2
    return min(end, known.high)


def _factor(ratio: float) -> float:
    """By how much a range is widened whose upper bound is `ratio` times its lower bound."""
    return min(max(math.sqrt(ratio), _LEAST_FACTOR), _MOST_FACTOR)


def _rounded(value: float) -> float:
    """`value` without the noise of floating-point arithmetic."""
    return float(f"{value:.6g}")


def _is_legal(wider: Parameter, upper: bool, best: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
    """Whether the line reads back, and the best configuration can exist with the new bound."""
    end = _ends(wider)[upper]
    try:
        check_space(parse(wider.write()))
        value = check_value(wider.name, int(end) if TABLE[wider.name].kind == "int" else end)
    except InputError:
        return False
    broken = violations(resolve({**base, **best}))
    return set(violations(resolve({**base, **best, wider.name: value}))) <= set(broken)
