"""Reads params files: RecBole's hyper.test, with two more kinds, as a `SearchSpace`.

    NAME choice [VALUE, ...]            one of the values
    NAME uniform LOW,HIGH               a real number between the bounds
    NAME loguniform LOW,HIGH            e to the power of one: as in RecBole, bounds are natural logarithms
    NAME quniform LOW,HIGH,Q            a multiple of Q near such a number
    NAME int LOW,HIGH[,STEP]            a whole number
    NAME log LOW,HIGH                   a real number, uniform in its logarithm

Spaces and tabs separate, `#` begins a comment, blank lines are skipped. Nothing is evaluated.
A file that RecBole reads without an error means the same here. What RecBole drops or runs as code is read or
is an error; tests/inputs/test_recboles_params_files.py lists each case.
Source: recbole/trainer/hyper_tuning.py, _build_space_from_file; hyperopt.hp.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sasrecf_tune.errors import InputErrors, Location, MistakeCollector, ParamsFileError, TuneError
from sasrecf_tune.inputs.literals import Element, LiteralError, exact, fraction, from_string, read_elements
from sasrecf_tune.inputs.name_matching import misspelt
from sasrecf_tune.inputs.search_space import (
    Choice,
    Int,
    Log,
    LogUniform,
    Parameter,
    QUniform,
    SearchSpace,
    Uniform,
)
from sasrecf_tune.inputs.text_files import read_bytes
from sasrecf_tune.inputs.value_conversion import convert

MAX_VALUES = 100_000
MAX_LINES = 500  # that are neither blank nor comments
# Beyond these, exp() is infinite or not a normal number.
_LEAST_EXPONENT = math.log(sys.float_info.min)
_GREATEST_EXPONENT = math.log(sys.float_info.max)
_KINDS = ("choice", "uniform", "quniform", "loguniform", "int", "log")
# hyperopt's, which RecBole does not read: no misspellings.
_OTHER_KINDS = ("normal", "lognormal", "qnormal", "qlognormal", "qloguniform", "randint", "uniformint")
_NAME = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)  # RecBole's DiffRec has time-aware
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# What follows a name in `n_layers 2`, `n_layers in [1, 2]`, and in lines of YAML or Python.
_BEFORE_LIST = re.compile(r"(?:in\b|[:=])[ \t]*")
_GLUED = re.compile(rf"({'|'.join(_KINDS)})(?=[\[({{'\"])")
_ASSIGNED = re.compile(r"([A-Za-z_]\w*)[ \t]*[:=]", re.ASCII)
_HEADER = re.compile(r"([^ \t]+)(?:[ \t]+([^ \t]+))?[ \t]*")

# What is wrong with the parameters of a file beyond their syntax.
Check = Callable[[Sequence[Parameter]], Sequence[ParamsFileError]]


def read(path: Path, check: Check = lambda parameters: ()) -> SearchSpace:
    """The search space in a params file.

    Args:
        check: Looks for further mistakes in the parameters, to report them together with those of syntax.

    Raises:
        ParamsFileError: the file cannot be read, or has a mistake.
        InputErrors: the file has several mistakes.
    """
    content = read_bytes(path, "params file", ParamsFileError)
    if b"\0" in content:
        raise ParamsFileError("not a params file: it is binary", where=str(path))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ParamsFileError("not UTF-8 text", where=f"{path}:{line}", fix="Save it as UTF-8.") from error
    return parse(text, str(path), check)


def parse(text: str, source: str = "<text>", check: Check = lambda parameters: ()) -> SearchSpace:
    """The search space in the text of a params file; `check` as in `read`.

    Raises:
        ParamsFileError: the text has a mistake.
        InputErrors: the text has several mistakes.

    Example:
        >>> space = parse("learning_rate log 0.001,0.1  # a comment\\nn_layers choice [1, 2]")
        >>> space["n_layers"].values
        (1, 2)
        >>> parse("n_layers choice [1, 2")
        Traceback (most recent call last):
        sasrecf_tune.errors.ParamsFileError: <text>:1:17: this `[` is never closed
            n_layers choice [1, 2
                            ^
        Add `]` at the end.
    """
    first_line: dict[str, int] = {}
    parameters: list[Parameter] = []
    notes: list[str] = []
    # Not splitlines(), which also splits at characters that do not end a line of a file.
    texts = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    numbered = (_Line(source, number, each.rstrip()) for number, each in enumerate(texts, 1))
    lines = [line for line in numbered if not line.blank]
    if len(lines) > MAX_LINES:
        raise lines[MAX_LINES].error(f"more than {MAX_LINES} parameters", 0)
    with MistakeCollector() as mistakes:
        for line in lines:
            with mistakes.collect():
                name = line.read_name()
                if first_line.setdefault(name, line.number) != line.number:
                    raise line.error(
                        f"`{name}` occurs twice; first in line {first_line[name]}",
                        line.start,
                        "Keep one of the two lines (RecBole would silently take the second).",
                    )
                try:
                    parameters.append(line.read_parameter())
                except (ParamsFileError, InputErrors):
                    # Whoever has to remove or rename a parameter need not correct its line first.
                    unread = line.unread()
                    if not check([unread]):
                        raise
                    parameters.append(unread)
                notes += line.notes
        mistakes.add(*check(parameters))
        mistakes.sort(_line_number)
        if not parameters and not mistakes:
            raise ParamsFileError(
                "there are no parameters",
                where=source,
                fix="A line looks like: learning_rate choice [0.01, 0.001]",
            )
    return SearchSpace(tuple(parameters), source, tuple(notes))


def _line_number(mistake: TuneError) -> int:
    return mistake.at.line if isinstance(mistake, ParamsFileError) and mistake.at else 0


class _Line:
    """One line of a params file; a mistake in it is raised at its column."""

    def __init__(self, source: str, number: int, text: str) -> None:
        self.source = source
        self.number = number
        self.text = text
        self.notes: list[str] = []
        self.assigned = 0  # where the values begin in `NAME: VALUES` or `NAME = VALUES`
        body = text.lstrip()  # as RecBole strips a line: of any kind of space
        self.blank = not body or body.startswith("#")
        self.start = len(text) - len(body)

    def read_name(self) -> str:
        if control := _CONTROL.search(self.text, self.start):
            raise self.error("an invisible control character", control.start())
        header = _HEADER.match(self.text, self.start)
        assert header is not None
        self.name, self.kind, self.after_name = header.group(1), header.group(2), header.end(1)
        self.kind_at, self.rest = header.start(2), header.end()
        if (match := _ASSIGNED.match(self.text, self.start)) and not _NAME.fullmatch(self.name):
            self.name, self.after_name, self.assigned = match[1], match.end(1), match.end()
            return self.name
        if not _NAME.fullmatch(self.name):
            raise self.error(f"{self.name[:60]!r} is not a parameter name", self.start)
        return self.name

    def unread(self) -> Parameter:
        """The parameter of the line without its values, which have a mistake."""
        return Choice(self.name, at=self._location(self.start))

    def read_parameter(self) -> Parameter:
        name, kind = self.name, self.kind
        if self.assigned:
            after = self.text[self.assigned :].strip()
            fix = f"Write: {name} {after}" if after.startswith(_KINDS) else self._without_kind()
            raise self.error(f"expected a kind after `{name}`", self.after_name, fix)
        if kind is None or kind.startswith("#"):
            raise self.error(
                f"`{name}` has no kind",
                self.after_name,
                f"Write for example: {name} choice [VALUE, VALUE]; comments begin with #.",
            )
        if glued := _GLUED.match(kind):
            raise self.error(f"a space is missing after `{glued[1]}`", self.kind_at + glued.end())
        if kind not in _KINDS and (suggestion := self._without_kind()):
            raise self.error(f"`{name}` has no kind", self.kind_at, suggestion)
        if kind not in _KINDS:
            near = None if kind in _OTHER_KINDS else misspelt(kind, _KINDS)
            known = f": did you mean `{near}`?" if near else f"; the kinds are {', '.join(_KINDS)}"
            raise self.error(f"unknown kind `{kind[:60]}`{known}", self.kind_at)
        return self._choice() if kind == "choice" else self._range()

    def _without_kind(self) -> str:
        """How to write a line whose kind was left out; "" for another mistake."""
        text = self.text[self.after_name :].partition("#")[0].strip(" \t")
        found = _BEFORE_LIST.match(text)
        listed = text[found.end() :] if found else text
        written = listed if listed.startswith("[") else f"[{listed}]"
        try:
            elements = read_elements(written, 0)
        except LiteralError:
            return ""
        # A single word is rather a misspelt kind.
        is_list = bool(elements) and (listed[:1] in "[('\"" or not isinstance(elements[0].value, str))
        return f"Write: {self.name} choice {written}" if is_list else ""

    def error(self, what: str, offset: int, fix: str = "") -> ParamsFileError:
        return ParamsFileError(what, at=self._location(offset), fix=fix)

    def _location(self, offset: int) -> Location:
        return Location(self.source, self.number, min(offset, len(self.text)) + 1, self.text)

    def _choice(self) -> Choice:
        try:
            elements = read_elements(self.text, self.rest)
        except LiteralError as error:
            raise self.error(error.what, error.offset, error.fix) from error
        if not elements:
            raise self.error("an empty choice", self.rest, "Give at least one value.")
        kept: dict[str, Element] = {}
        repeated: dict[str, None] = {}
        listed: dict[str, None] = {}
        for element in elements:
            read = from_string(element.value) if isinstance(element.value, str) else element.value
            value = convert(self.name, read)
            if isinstance(read, str) and isinstance(value, list):
                listed[repr(value)] = None
            text = exact(value)
            if text in kept:
                repeated[text] = None
            else:
                kept[text] = Element(value, element.offset)
        if len(kept) > MAX_VALUES:
            raise self.error(f"more than {MAX_VALUES:,} values", self.rest)
        self.notes += [
            f"line {self.number}: {self.name} lists {text[:60]} more than once; it is tried once"
            for text in repeated
        ]
        if listed:
            self.notes.append(
                f"line {self.number}: each value of {self.name} is a list, so these are {', '.join(listed)}"
            )
        values, offsets = zip(*((element.value, element.offset) for element in kept.values()), strict=True)
        return Choice(self.name, values, offsets, at=self._location(self.rest))

    def _range(self) -> Parameter:
        numbers, offsets = self._numbers()
        name, low, high, at = self.name, numbers[0], numbers[1], self._location(self.rest)
        if low >= high:
            raise self.error(f"the lower bound {low:g} is not below the upper bound {high:g}", offsets[0])
        match self.kind:
            case "uniform":
                return Uniform(name, low, high, at=at)
            case "loguniform":
                return self._log_uniform(LogUniform(name, low, high, at=at), offsets)
            case "log":
                if low <= 0:
                    raise self.error("the lower bound of `log` must be above zero", offsets[0])
                return Log(name, low, high, at=at)
            case "quniform":
                return self._quniform(QUniform(name, low, high, numbers[2], at=at), offsets)
            case _:
                return self._int(numbers, offsets)

    def _log_uniform(self, parameter: LogUniform, offsets: Sequence[int]) -> LogUniform:
        low, high = parameter.low, parameter.high
        with MistakeCollector() as mistakes:
            for exponent, offset in zip((low, high), offsets, strict=True):
                if not _LEAST_EXPONENT <= exponent <= _GREATEST_EXPONENT:
                    mistakes.add(
                        self.error(
                            f"exp({exponent:g}) is too {'large' if exponent > 0 else 'small'}",
                            offset,
                            "loguniform takes natural logarithms; `log` takes the bounds themselves.",
                        )
                    )
        if 0 < low < high <= 1:
            # Almost certainly meant as the bounds themselves, but RecBole takes exponents.
            least, greatest = parameter.bounds
            self.notes.append(
                f"{self.name}: loguniform {low:g},{high:g} are exponents of e, so values from {least:.5g} to "
                f"{greatest:.5g}; for {low:g} to {high:g} write: log {low:g},{high:g}"
            )
        return parameter

    def _quniform(self, parameter: QUniform, offsets: Sequence[int]) -> QUniform:
        if parameter.q <= 0:
            raise self.error("q must be above zero", offsets[2])
        ends = fraction(parameter.low), fraction(parameter.high)
        if max(map(abs, ends)) / fraction(parameter.q) > 2**53:
            raise self.error("q is too small for numbers of this size", offsets[2], "Use uniform.")
        return parameter

    def _int(self, numbers: Sequence[float], offsets: Sequence[int]) -> Int:
        with MistakeCollector() as mistakes:
            for number, offset in zip(numbers, offsets, strict=True):
                if not number.is_integer() or abs(number) >= 2**53:
                    mistakes.add(self.error(f"`int` takes whole numbers, not {number:g}", offset))
        low, high, step = (int(number) for number in [*numbers, 1.0][:3])
        if step <= 0:
            raise self.error("the step must be above zero", offsets[2])
        if step > high - low:
            raise self.error("the step is larger than the range", offsets[2])
        if (high - low) / step > MAX_VALUES:
            raise self.error(f"more than {MAX_VALUES:,} values", offsets[-1], "Use a larger step.")
        return Int(self.name, low, high, step, at=self._location(self.rest))

    def _numbers(self) -> tuple[list[float], list[int]]:
        """The numbers after the kind, and their offsets."""
        counts = {"quniform": (3,), "int": (2, 3)}.get(self.kind, (2,))
        shape = {"quniform": "LOW,HIGH,Q", "int": "LOW,HIGH or LOW,HIGH,STEP"}.get(self.kind, "LOW,HIGH")
        content = self.text[self.rest :].partition("#")[0].rstrip(" \t")
        if not content:
            raise self.error(f"`{self.kind}` needs {shape}", self.rest)
        if content[0] in "[(":
            raise self.error("bounds need no brackets", self.rest, f"`{self.kind}` needs {shape}.")
        numbers: list[float] = []
        offsets: list[int] = []
        offset = self.rest
        with MistakeCollector() as mistakes:
            for part in content.split(","):
                offsets.append(offset + len(part) - len(part.lstrip(" \t")))
                offset += len(part) + 1
                bare = part.strip(" \t")
                try:
                    numbers.append(float(bare))
                except ValueError:
                    what = f"{bare[:40]!r} is not a number" if bare else "a number is missing"
                    mistakes.add(self.error(what, offsets[-1], f"`{self.kind}` needs {shape}."))
                else:
                    if not math.isfinite(numbers[-1]):
                        mistakes.add(self.error("bounds must be finite", offsets[-1]))
        if len(numbers) not in counts:
            raise self.error(f"`{self.kind}` needs {shape}, not {len(numbers)} numbers", offsets[-1])
        return numbers, offsets
