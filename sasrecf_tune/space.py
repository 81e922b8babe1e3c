"""The search-space language: RecBole's hyper.test files, a little larger, to and from `SearchSpace`.

    NAME choice [VALUE, ...]            one of the values
    NAME uniform LOW,HIGH               a real number between the bounds
    NAME loguniform LOW,HIGH            exp of one: the bounds are natural logarithms, as in RecBole
    NAME quniform LOW,HIGH,Q            a multiple of Q near such a number
    NAME int LOW,HIGH[,STEP]            a whole number
    NAME log LOW,HIGH                   a real number, uniform in its logarithm

Spaces and tabs separate, `#` begins a comment, blank lines do not count. Nothing is evaluated.
Whatever RecBole reads without an error means the same here, except where RecBole drops a part of the
file or runs it as code: that is read in full, or refused (tests/test_space.py lists each such case).
Source: recbole/trainer/hyper_tuning.py, _build_space_from_file; hyperopt.hp.
"""

from __future__ import annotations

import hashlib
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import overload

from sasrecf_tune.errors import Location, ParamsFileError, suggest
from sasrecf_tune.literals import Element, LiteralError, Scalar, Value, from_string, is_number, read_elements

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
    "parse",
    "read",
]

MAX_BYTES = 1 << 20
MAX_VALUES = 100_000
# Beyond them exp() is infinite, or no longer an ordinary number above zero.
_LEAST_EXPONENT = math.log(sys.float_info.min)
_GREATEST_EXPONENT = math.log(sys.float_info.max)
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


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
        return self._labels[_exact(value)]

    def value(self, label: Scalar) -> Value:
        """See `_Parameter.value`."""
        return self._choices[_exact(label)]

    def contains(self, value: Value) -> bool:
        """Whether `value` is one of the choices, of the same type."""
        return _exact(value) in self._labels

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
        return {_exact(choice): label for choice, label in zip(self.choices, self.labels, strict=True)}

    @cached_property
    def _choices(self) -> dict[str, Value]:
        return {_exact(label): choice for choice, label in zip(self.choices, self.labels, strict=True)}


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
        return any(_fraction(float(end)) != end for end in ends)

    @cached_property
    def factors(self) -> range:
        """The values divided by q."""
        # Exactly half-way bounds are reached with probability zero, so they round inwards.
        half = Fraction(1, 2)
        first = math.floor(_fraction(self.low) / self._step + half)
        return range(first, math.ceil(_fraction(self.high) / self._step - half) + 1)

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
        return _fraction(self.q)


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
_KINDS = ("choice", "uniform", "quniform", "loguniform", "int", "log")


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
            f"{p.name} choice {sorted(map(_exact, p.choices))}" if isinstance(p, Choice) else p.write()
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


def read(path: Path) -> SearchSpace:
    """The space in a params file.

    Raises:
        ParamsFileError: the file cannot be read, or what is wrong in it and where.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ParamsFileError(f"cannot read: {error.strerror or error}", where=str(path)) from error
    except ValueError as error:  # a NUL in the name
        raise ParamsFileError("no file's name", where=repr(str(path))) from error
    if len(content) > MAX_BYTES:
        raise ParamsFileError("larger than 1 MiB: no params file", where=str(path))
    if b"\0" in content:
        raise ParamsFileError("a binary file, not a params file", where=str(path))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ParamsFileError(
            "not a text file in UTF-8", where=f"{path}:{line}", fix="Save it as UTF-8."
        ) from error
    return parse(text, str(path))


def parse(text: str, source: str = "<text>") -> SearchSpace:
    """The space in the text of a params file.

    Raises:
        ParamsFileError: what is wrong, at which line and column.
    """
    found: dict[str, tuple[Parameter, int]] = {}
    notes: list[str] = []
    # Not splitlines(): it also splits at characters that are no line ends in a file.
    for number, line in enumerate(
        text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1
    ):
        parsed = _Line(source, number, line.rstrip()).parse()
        if parsed is None:
            continue
        parameter, note = parsed
        if parameter.name in found:
            raise ParamsFileError(
                f"`{parameter.name}` stands twice; the first time in line {found[parameter.name][1]}",
                at=Location(source, number, line.index(parameter.name) + 1, line),
                fix="Keep one of the two (RecBole would silently take the second).",
            )
        found[parameter.name] = (parameter, number)
        notes += note
        if isinstance(parameter, LogUniform) and 0 < parameter.low < parameter.high <= 1:
            # Nobody means these; RecBole takes exponents.
            bounds = f"{parameter.low:g},{parameter.high:g}"
            notes.append(
                f"{parameter.name}: loguniform {bounds} are exponents of e, so values from "
                f"{parameter.real_low:.5g} to {parameter.real_high:.5g}; "
                f"for {parameter.low:g} to {parameter.high:g} write: log {bounds}"
            )
    if not found:
        raise ParamsFileError(
            "no parameters in it", where=source, fix="A line looks like: learning_rate choice [0.01, 0.001]"
        )
    return SearchSpace(tuple(parameter for parameter, _ in found.values()), source, tuple(notes))


class _Line:
    """One line of a params file."""

    def __init__(self, source: str, number: int, text: str) -> None:
        self.source = source
        self.number = number
        self.text = text

    def parse(self) -> tuple[Parameter, list[str]] | None:
        body = self.text.lstrip()  # as RecBole strips a line: of any kind of space
        if not body or body.startswith("#"):
            return None
        start = len(self.text) - len(body)
        if odd := re.compile(r"[\x00-\x08\x0b-\x1f\x7f]").search(self.text, start):
            raise self.error("an invisible control character", odd.start())
        words = re.compile(r"([^ \t]+)(?:[ \t]+([^ \t]+))?[ \t]*").match(self.text, start)
        assert words is not None
        name, kind, rest = words.group(1), words.group(2), words.end()
        if not _NAME.fullmatch(name):
            raise self.error(f"{name[:60]!r} is no parameter's name", words.start(1))
        if kind is None or kind.startswith("#"):
            raise self.error(
                f"`{name}` has no type",
                words.end(1),
                f"Write for example: {name} choice [VALUE, VALUE]; comments begin with #.",
            )
        if kind not in _KINDS:
            near = suggest(kind, _KINDS) or f"; there are {', '.join(_KINDS)}"
            raise self.error(f"unknown type `{kind[:60]}`{near}", words.start(2))
        if kind == "choice":
            return self._choice(name, rest)
        return self._range(name, kind, rest), []

    def error(self, what: str, offset: int, fix: str = "") -> ParamsFileError:
        return ParamsFileError(what, at=self.location(offset), fix=fix)

    def location(self, offset: int) -> Location:
        return Location(self.source, self.number, min(offset, len(self.text)) + 1, self.text)

    def _choice(self, name: str, rest: int) -> tuple[Choice, list[str]]:
        try:
            elements = read_elements(self.text, rest)
        except LiteralError as error:
            raise self.error(error.what, error.offset, error.fix) from error
        if not elements:
            raise self.error("an empty choice", rest, "Give at least one value.")
        kept: dict[str, Element] = {}
        repeated: dict[str, None] = {}
        for element in elements:
            value = from_string(element.value) if isinstance(element.value, str) else element.value
            if _exact(value) in kept:
                repeated[_exact(value)] = None
            else:
                kept[_exact(value)] = Element(value, element.offset)
        if len(kept) > MAX_VALUES:
            raise self.error(f"more than {MAX_VALUES:,} values", rest)
        choice = Choice(
            name,
            tuple(element.value for element in kept.values()),
            tuple(element.offset for element in kept.values()),
            at=self.location(rest),
        )
        return choice, [
            f"line {self.number}: {name} lists {value[:60]} more than once; it is tried once"
            for value in repeated
        ]

    def _range(self, name: str, kind: str, rest: int) -> Parameter:
        numbers, offsets = self._numbers(kind, rest)
        low, high = numbers[0], numbers[1]
        at = self.location(rest)
        if low >= high:
            raise self.error(f"the lower bound {low:g} is not below the upper bound {high:g}", offsets[0])
        match kind:
            case "uniform":
                return Uniform(name, low, high, at=at)
            case "loguniform":
                for exponent, offset in zip(numbers, offsets, strict=True):
                    if not _LEAST_EXPONENT <= exponent <= _GREATEST_EXPONENT:
                        size = "large" if exponent > 0 else "small"
                        raise self.error(
                            f"exp({exponent:g}) is too {size} a number",
                            offset,
                            "loguniform takes natural logarithms; `log` takes the bounds themselves.",
                        )
                return LogUniform(name, low, high, at=at)
            case "log":
                if low <= 0:
                    raise self.error("the lower bound of `log` must be above zero", offsets[0])
                return Log(name, low, high, at=at)
            case "quniform":
                return self._quniform(QUniform(name, low, high, numbers[2], at=at), offsets)
            case _:
                return self._int(name, numbers, offsets, at)

    def _quniform(self, parameter: QUniform, offsets: list[int]) -> QUniform:
        if parameter.q <= 0:
            raise self.error("q must be above zero", offsets[2])
        ends = _fraction(parameter.low), _fraction(parameter.high)
        if max(map(abs, ends)) / _fraction(parameter.q) > 2**53:
            raise self.error("q is too small for numbers of this size", offsets[2], "Use uniform.")
        return parameter

    def _int(self, name: str, numbers: list[float], offsets: list[int], at: Location) -> Int:
        for number, offset in zip(numbers, offsets, strict=True):
            if not number.is_integer() or abs(number) >= 2**53:
                raise self.error(f"`int` takes whole numbers, not {number:g}", offset)
        low, high, step = (int(number) for number in [*numbers, 1.0][:3])
        if step <= 0:
            raise self.error("the step must be above zero", offsets[2])
        if step > high - low:
            raise self.error("the step is larger than the range", offsets[2])
        if (high - low) / step > MAX_VALUES:
            raise self.error(f"more than {MAX_VALUES:,} values", offsets[-1], "Use a larger step.")
        return Int(name, low, high, step, at=at)

    def _numbers(self, kind: str, rest: int) -> tuple[list[float], list[int]]:
        wanted = {"quniform": (3,), "int": (2, 3)}.get(kind, (2,))
        shape = {"quniform": "LOW,HIGH,Q", "int": "LOW,HIGH or LOW,HIGH,STEP"}.get(kind, "LOW,HIGH")
        content = self.text[rest:].partition("#")[0].rstrip(" \t")
        if not content:
            raise self.error(f"`{kind}` needs {shape}", rest)
        numbers: list[float] = []
        offsets: list[int] = []
        offset = rest
        for part in content.split(","):
            start = offset + len(part) - len(part.lstrip(" \t"))
            bare = part.strip(" \t")
            try:
                number = float(bare)
            except ValueError as error:
                what = f"{bare[:40]!r} is no number" if bare else "a number is missing"
                raise self.error(what, start, f"`{kind}` needs {shape}.") from error
            if not math.isfinite(number):
                raise self.error("bounds must be finite", start)
            numbers.append(number)
            offsets.append(start)
            offset += len(part) + 1
        if len(numbers) not in wanted:
            raise self.error(f"`{kind}` needs {shape}, not {len(numbers)} numbers", offsets[-1])
        return numbers, offsets


def _exact(value: Value) -> str:
    """A text that tells 1, 1.0 and True apart; the same for equal lists and mappings."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_exact(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_exact, value)) + "]"
    return repr(value)


def _fraction(number: float) -> Fraction:
    """The decimal number that a person wrote, not its binary neighbour."""
    return Fraction(repr(float(number)))
