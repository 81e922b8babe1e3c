"""A search space: the parameters of a params file, each of one of six kinds."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import overload

from typing_extensions import override

from sasrecf_tune.errors import Location
from sasrecf_tune.inputs.literals import Scalar, Value, exact, fraction, from_string, is_number

# How inexact a computed bound of QUniform is, such as 4.5 * q, in units of its last digit.
_BLUR = 8


@dataclass(frozen=True)
class _Parameter:
    """What all kinds share: the key of RecBole's configuration, and its location in the params file."""

    name: str
    at: Location | None = field(default=None, compare=False, repr=False, kw_only=True)

    @property
    def at_name(self) -> Location | None:
        """The location of the name in the params file."""
        return self.at and replace(self.at, column=self.at.text.index(self.name) + 1)

    @property
    def kind(self) -> str:
        """The kind as a params file spells it."""
        return type(self).__name__.lower()

    @property
    def size(self) -> int | None:
        """The number of values, None for infinitely many."""
        return None

    @property
    def values(self) -> Sequence[Value]:
        """All values of a parameter that has a size."""
        raise TypeError(f"{self.name} takes infinitely many values")

    def label(self, value: Value) -> Scalar:
        """`value` as Optuna stores it."""
        assert not isinstance(value, list | dict)
        return value

    def value(self, label: Scalar) -> Value:
        """The inverse of `label`."""
        return label

    def contains(self, value: Value) -> bool:
        """Whether `value` is one of the parameter's values, of the same type."""
        raise NotImplementedError

    def write(self) -> str:
        """The parameter as a line of a params file."""
        return f"{self.name} {self.kind} {self._arguments()}"

    def _arguments(self) -> str:
        raise NotImplementedError


@dataclass(frozen=True)
class Choice(_Parameter):
    """One of `choices`, which all differ; `offsets` are their columns in the line, from 0."""

    choices: tuple[Value, ...] = ()
    offsets: tuple[int, ...] = field(default=(), compare=False, repr=False)

    @property
    @override
    def size(self) -> int:
        return len(self.choices)

    @property
    @override
    def values(self) -> tuple[Value, ...]:
        return self.choices

    @cached_property
    def labels(self) -> tuple[Scalar, ...]:
        """The values as Optuna can store and tell apart: scalars as they are, else their text."""
        labels = tuple(repr(value) if isinstance(value, list | dict) else value for value in self.choices)
        # 1, 1.0 and True are equal in Python, and a string may equal the text of a list.
        ambiguous = len(set(labels)) < len(labels)
        return tuple(map(repr, self.choices)) if ambiguous else labels

    @override
    def label(self, value: Value) -> Scalar:
        return self._label_of[exact(value)]

    @override
    def value(self, label: Scalar) -> Value:
        return self._choice_of[exact(label)]

    @override
    def contains(self, value: Value) -> bool:
        return exact(value) in self._label_of

    @override
    def _arguments(self) -> str:
        # A string that spells a literal would be read as that literal, so it needs a second pair of quotes.
        written = [
            repr(repr(value)) if isinstance(value, str) and from_string(value) != value else repr(value)
            for value in self.choices
        ]
        return f"[{', '.join(written)}]"

    @cached_property
    def _label_of(self) -> dict[str, Scalar]:
        return {exact(choice): label for choice, label in zip(self.choices, self.labels, strict=True)}

    @cached_property
    def _choice_of(self) -> dict[str, Value]:
        return {exact(label): choice for choice, label in zip(self.choices, self.labels, strict=True)}


@dataclass(frozen=True)
class _Real(_Parameter):
    low: float = 0.0
    high: float = 1.0

    @property
    def bounds(self) -> tuple[float, float]:
        """The least value and the greatest."""
        return self.low, self.high

    @override
    def contains(self, value: Value) -> bool:
        low, high = self.bounds
        return is_number(value) and low <= float(value) <= high

    @override
    def _arguments(self) -> str:
        return f"{self.low!r},{self.high!r}"


@dataclass(frozen=True)
class Uniform(_Real):
    """A real number between `low` and `high`."""


@dataclass(frozen=True)
class Log(_Real):
    """A real number between `low` and `high`, uniform in its logarithm; `low` is above zero."""

    low: float = 0.1


@dataclass(frozen=True)
class LogUniform(_Real):
    """e to the power of a real number between `low` and `high`, which are natural logarithms."""

    @property
    @override
    def bounds(self) -> tuple[float, float]:
        return math.exp(self.low), math.exp(self.high)


class _Multiples(Sequence[float]):
    """`factors` times `step`, computed on access: there may be billions."""

    def __init__(self, factors: range, step: Fraction) -> None:
        self._factors, self._step = factors, step

    def __len__(self) -> int:
        return len(self._factors)

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[float]: ...
    def __getitem__(self, index: int | slice) -> float | Sequence[float]:
        if isinstance(index, slice):
            return _Multiples(self._factors[index], self._step)
        return float(self._factors[index] * self._step)


@dataclass(frozen=True)
class QUniform(_Parameter):
    """A multiple of `q` near a real number between `low` and `high`: round(uniform(low, high) / q) * q.

    The first and last multiple may be up to q/2 outside the bounds, as in hyperopt. The values are whole
    numbers if all three are. Each multiple is equally likely; in hyperopt the first and last are less so.
    """

    low: float = 0.0
    high: float = 1.0
    q: float = 1.0

    @property
    @override
    def size(self) -> int:
        return len(self.factors)

    @property
    @override
    def values(self) -> Sequence[int] | Sequence[float]:
        if self.whole:
            step = int(self.q)
            return range(self.factors[0] * step, self.factors[-1] * step + 1, step)
        return _Multiples(self.factors, self._step)

    @property
    def bounds(self) -> tuple[float, float]:
        """The least value and the greatest."""
        return self.values[0], self.values[-1]

    @cached_property
    def whole(self) -> bool:
        """Whether its values are whole numbers."""
        return all(float(bound).is_integer() for bound in (self.low, self.high, self.q))

    @cached_property
    def by_factor(self) -> bool:
        """Whether Optuna stores k instead of k * q.

        Optuna drops the last value of a range that q does not divide exactly. Multiples of a q with many
        digits are such a range after they are rounded to floats.
        """
        ends = [factor * self._step for factor in (self.factors[0], self.factors[-1])]
        return any(fraction(float(end)) != end for end in ends)

    @cached_property
    def factors(self) -> range:
        """The values divided by q."""
        # A bound half-way between two multiples is reached with probability zero: round inwards. In floats,
        # which hyperopt computes with, a bound counts as half-way if only its last digits say otherwise.
        ends = [fraction(bound) / self._step for bound in (self.low, self.high)]
        blur = min(Fraction(1, 4), Fraction(_BLUR * max(math.ulp(float(end)) for end in ends)))
        first = math.floor(ends[0] + Fraction(1, 2) + blur)
        return range(first, max(first, math.ceil(ends[1] - Fraction(1, 2) - blur)) + 1)

    @override
    def label(self, value: Value) -> Scalar:
        assert isinstance(value, int | float)
        return round(Fraction(value) / self._step) if self.by_factor else value

    @override
    def value(self, label: Scalar) -> Value:
        # Optuna's arithmetic may be off in the last digit.
        assert isinstance(label, int | float)
        return self._multiple(round(label) if self.by_factor else round(Fraction(label) / self._step))

    @override
    def contains(self, value: Value) -> bool:
        low, high = self.bounds
        return (
            is_number(value)
            and low <= value <= high
            and self._multiple(round(Fraction(value) / self._step)) == value
        )

    @override
    def _arguments(self) -> str:
        return ",".join(str(int(n)) if self.whole else repr(n) for n in (self.low, self.high, self.q))

    def _multiple(self, factor: int) -> int | float:
        return factor * int(self.q) if self.whole else float(factor * self._step)

    @cached_property
    def _step(self) -> Fraction:
        return fraction(self.q)


@dataclass(frozen=True)
class Int(_Parameter):
    """A whole number from `low` to at most `high` in steps of `step`."""

    low: int = 0
    high: int = 1
    step: int = 1

    @property
    @override
    def size(self) -> int:
        return len(self.values)

    @property
    @override
    def values(self) -> range:
        return range(self.low, self.high + 1, self.step)

    @property
    def bounds(self) -> tuple[float, float]:
        """The least value and the greatest."""
        return self.values[0], self.values[-1]

    @override
    def contains(self, value: Value) -> bool:
        return type(value) is int and value in self.values

    @override
    def _arguments(self) -> str:
        return f"{self.low},{self.high}" + (f",{self.step}" if self.step != 1 else "")


Parameter = Choice | Uniform | QUniform | LogUniform | Int | Log


def is_ordered(parameter: Parameter) -> bool:
    """Whether its values are numbers that all differ, not names."""
    if not isinstance(parameter, Choice):
        return True
    return len({float(x) for x in parameter.choices if is_number(x)}) == len(parameter.choices)


@dataclass(frozen=True)
class SearchSpace:
    """The parameters of a params file, in its order; `source` and `notes` do not count in comparisons.

    Example:
        >>> space = SearchSpace((Choice("n_layers", (1, 2)), Int("epochs", 10, 50, 20)))
        >>> space.size, space.names
        (6, ('n_layers', 'epochs'))
        >>> print(space.write(), end="")
        n_layers choice [1, 2]
        epochs int 10,50,20
    """

    parameters: tuple[Parameter, ...]
    source: str = field(default="<text>", compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __getitem__(self, name: str) -> Parameter:
        return {parameter.name: parameter for parameter in self.parameters}[name]

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def size(self) -> int | None:
        """The number of configurations, None for infinitely many."""
        sizes = [parameter.size for parameter in self.parameters]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that do not depend on comments or on the order of lines and of choices."""
        lines = sorted(
            f"{p.name} choice {sorted(map(exact, p.choices))}" if isinstance(p, Choice) else p.write()
            for p in self.parameters
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def write(self) -> str:
        """A params file that reads back equal."""
        return "".join(parameter.write() + "\n" for parameter in self.parameters)

    def decode(self, labels: Mapping[str, Scalar]) -> dict[str, Value]:
        """RecBole's values of what Optuna stores; names that are missing in `labels` stay missing."""
        return {p.name: p.value(labels[p.name]) for p in self.parameters if p.name in labels}

    def encode(self, values: Mapping[str, Value]) -> dict[str, Scalar]:
        """The inverse of `decode`."""
        return {p.name: p.label(values[p.name]) for p in self.parameters if p.name in values}
