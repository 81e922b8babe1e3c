"""What is searched: a parameter is one of six kinds, a search space some of them, in order."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import overload

from sasrecf_tune.errors import Location
from sasrecf_tune.inputs.literals import Scalar, Value, from_string, is_number

__all__ = [
    "Choice",
    "Int",
    "Log",
    "LogUniform",
    "Parameter",
    "QUniform",
    "Scalar",
    "SearchSpace",
    "Uniform",
    "Value",
]


@dataclass(frozen=True)
class _Parameter:
    """What all kinds have: the key in RecBole's configuration, and where the file has it."""

    name: str
    at: Location | None = field(default=None, compare=False, repr=False, kw_only=True)

    @property
    def size(self) -> int | None:
        """How many values it can take, None for infinitely many."""
        return None

    @property
    def values(self) -> Sequence[Value]:
        """All values of a parameter that has a size."""
        raise TypeError(f"{self.name} takes infinitely many values")

    def label(self, value: Value) -> Scalar:
        """`value` as Optuna can store it."""
        assert not isinstance(value, list | dict)
        return value

    def value(self, label: Scalar) -> Value:
        """The inverse of `label`."""
        return label


@dataclass(frozen=True)
class Choice(_Parameter):
    """One of `choices`, all different."""

    choices: tuple[Value, ...] = ()
    offsets: tuple[int, ...] = field(default=(), compare=False, repr=False)

    @property
    def size(self) -> int:
        """See `_Parameter.size`."""
        return len(self.choices)

    @property
    def values(self) -> tuple[Value, ...]:
        """See `_Parameter.values`."""
        return self.choices

    @cached_property
    def labels(self) -> tuple[Scalar, ...]:
        """The values as Optuna can store and tell apart: scalars as they are, else their text."""
        labels = tuple(repr(value) if isinstance(value, list | dict) else value for value in self.choices)
        # 1, 1.0 and True are equal in Python, and a string may be some list's text.
        ambiguous = len(set(labels)) < len(labels)
        return tuple(map(repr, self.choices)) if ambiguous else labels

    def label(self, value: Value) -> Scalar:
        """See `_Parameter.label`."""
        return self._labels[exact(value)]

    def value(self, label: Scalar) -> Value:
        """See `_Parameter.value`."""
        return self._choices[exact(label)]

    def contains(self, value: Value) -> bool:
        """Whether `value` is one of the choices, of the same type."""
        return exact(value) in self._labels

    def write(self) -> str:
        """The line of a params file."""
        # A string that spells a literal would be read as that literal, so it needs a second pair of quotes.
        written = [
            repr(repr(value)) if isinstance(value, str) and from_string(value) != value else repr(value)
            for value in self.choices
        ]
        return f"{self.name} choice [{', '.join(written)}]"

    @cached_property
    def _labels(self) -> dict[str, Scalar]:
        return {exact(choice): label for choice, label in zip(self.choices, self.labels, strict=True)}

    @cached_property
    def _choices(self) -> dict[str, Value]:
        return {exact(label): choice for choice, label in zip(self.choices, self.labels, strict=True)}


@dataclass(frozen=True)
class _Real(_Parameter):
    """Any real number in a range."""

    low: float
    high: float

    @property
    def bounds(self) -> tuple[float, float]:
        """The least value and the greatest."""
        return self.low, self.high

    def contains(self, value: Value) -> bool:
        """Whether `value` is a number within the bounds."""
        low, high = self.bounds
        return is_number(value) and low <= float(value) <= high


@dataclass(frozen=True)
class Uniform(_Real):
    """A real number between `low` and `high`."""

    low: float = 0.0
    high: float = 1.0

    def write(self) -> str:
        """The line of a params file."""
        return f"{self.name} uniform {self.low!r},{self.high!r}"


@dataclass(frozen=True)
class LogUniform(_Real):
    """exp of a real number between `low` and `high`, which are natural logarithms."""

    low: float = 0.0
    high: float = 1.0

    @property
    def real_low(self) -> float:
        """The least value itself."""
        return math.exp(self.low)

    @property
    def real_high(self) -> float:
        """The greatest value itself."""
        return math.exp(self.high)

    @property
    def bounds(self) -> tuple[float, float]:
        """See `_Real.bounds`."""
        return self.real_low, self.real_high

    def write(self) -> str:
        """The line of a params file."""
        return f"{self.name} loguniform {self.low!r},{self.high!r}"


@dataclass(frozen=True)
class Log(_Real):
    """A real number between `low` and `high`, uniform in its logarithm."""

    low: float = 0.1
    high: float = 1.0

    def write(self) -> str:
        """The line of a params file."""
        return f"{self.name} log {self.low!r},{self.high!r}"


class _Multiples(Sequence[float]):
    """`factors` times `step`, none of them held in memory."""

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

    The first and last multiple may lie up to q/2 outside of the bounds, as in hyperopt. Whole numbers
    when all three are. Each multiple is equally likely here; in hyperopt the two at the ends have less.
    """

    low: float = 0.0
    high: float = 1.0
    q: float = 1.0

    @property
    def size(self) -> int:
        """See `_Parameter.size`."""
        return self.factors[-1] - self.factors[0] + 1

    @property
    def values(self) -> Sequence[int] | Sequence[float]:
        """See `_Parameter.values`; there may be billions, so they are calculated when asked for."""
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

        It wants a range that q divides, which multiples of a q with many digits lose when they are rounded
        to floats: Optuna would drop the last.
        """
        ends = [factor * self._step for factor in (self.factors[0], self.factors[-1])]
        return any(fraction(float(end)) != end for end in ends)

    @cached_property
    def factors(self) -> range:
        """The values divided by q."""
        # Exactly half-way bounds are reached with probability zero, so they round inwards.
        half = Fraction(1, 2)
        first = math.floor(fraction(self.low) / self._step + half)
        return range(first, math.ceil(fraction(self.high) / self._step - half) + 1)

    def label(self, value: Value) -> Scalar:
        """See `_Parameter.label`."""
        assert isinstance(value, int | float)
        return round(Fraction(value) / self._step) if self.by_factor else value

    def value(self, label: Scalar) -> Value:
        """The multiple nearest to what Optuna calculated."""
        assert isinstance(label, int | float)
        return self._multiple(round(label) if self.by_factor else round(Fraction(label) / self._step))

    def contains(self, value: Value) -> bool:
        """Whether `value` is one of the multiples."""
        values = self.values
        return (
            isinstance(value, int | float)
            and is_number(value)
            and values[0] <= value <= values[-1]
            and self._multiple(round(Fraction(value) / self._step)) == value
        )

    def write(self) -> str:
        """The line of a params file."""
        bounds = [str(int(b)) if self.whole else repr(b) for b in (self.low, self.high, self.q)]
        return f"{self.name} quniform {','.join(bounds)}"

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
    def size(self) -> int:
        """See `_Parameter.size`."""
        return (self.high - self.low) // self.step + 1

    @property
    def values(self) -> Sequence[int]:
        """See `_Parameter.values`."""
        return range(self.low, self.high + 1, self.step)

    @property
    def bounds(self) -> tuple[float, float]:
        """The least value and the greatest."""
        return self.values[0], self.values[-1]

    def contains(self, value: Value) -> bool:
        """Whether `value` is one of the whole numbers."""
        return type(value) is int and value in range(self.low, self.high + 1, self.step)

    def write(self) -> str:
        """The line of a params file."""
        step = f",{self.step}" if self.step != 1 else ""
        return f"{self.name} int {self.low},{self.high}{step}"


Parameter = Choice | Uniform | QUniform | LogUniform | Int | Log


@dataclass(frozen=True)
class SearchSpace:
    """The parameters of a params file, in its order. `source` and `notes` do not count in comparisons."""

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
        """The parameters' names."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def size(self) -> int | None:
        """The number of configurations, None for infinitely many."""
        sizes = [parameter.size for parameter in self.parameters]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the meaning: the same for any order of lines and of values, and any comments."""
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


def exact(value: Value) -> str:
    """A text that tells 1, 1.0 and True apart; the same for equal lists and mappings."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {exact(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(exact, value)) + "]"
    return repr(value)


def fraction(number: float) -> Fraction:
    """The decimal number that a person wrote, not its binary neighbour."""
    return Fraction(repr(float(number)))
