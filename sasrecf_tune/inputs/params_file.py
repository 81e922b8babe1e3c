"""The search-space language: RecBole's hyper.test files, a little larger, read as a `SearchSpace`.

    NAME choice [VALUE, ...]            one of the values
    NAME uniform LOW,HIGH               a real number between the bounds
    NAME loguniform LOW,HIGH            exp of one: the bounds are natural logarithms, as in RecBole
    NAME quniform LOW,HIGH,Q            a multiple of Q near such a number
    NAME int LOW,HIGH[,STEP]            a whole number
    NAME log LOW,HIGH                   a real number, uniform in its logarithm

Spaces and tabs separate, `#` begins a comment, blank lines do not count. Nothing is evaluated.
Whatever RecBole reads without an error means the same here, except where RecBole drops a part of the file or
runs it as code: that is read in full, or refused. tests/inputs/test_search_space.py lists each such case.
Source: recbole/trainer/hyper_tuning.py, _build_space_from_file; hyperopt.hp.
"""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path

from sasrecf_tune.errors import Location, ParamsFileError, suggest
from sasrecf_tune.inputs.literals import Element, LiteralError, from_string, read_elements
from sasrecf_tune.inputs.search_space import (
    Choice,
    Int,
    Log,
    LogUniform,
    Parameter,
    QUniform,
    SearchSpace,
    Uniform,
    exact,
    fraction,
)

MAX_BYTES = 1 << 20
MAX_VALUES = 100_000
# Beyond them exp() is infinite, or no longer an ordinary number above zero.
_LEAST_EXPONENT = math.log(sys.float_info.min)
_GREATEST_EXPONENT = math.log(sys.float_info.max)
_KINDS = ("choice", "uniform", "quniform", "loguniform", "int", "log")
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


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
            if exact(value) in kept:
                repeated[exact(value)] = None
            else:
                kept[exact(value)] = Element(value, element.offset)
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
        ends = fraction(parameter.low), fraction(parameter.high)
        if max(map(abs, ends)) / fraction(parameter.q) > 2**53:
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
