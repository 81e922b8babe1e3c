"""Reads Python literals without eval, and words without quotes; an error has the column of the mistake.

value  := list | tuple | dict | string | number | True | False | None | word
word   := letters, digits, _ and -, a letter or _ first: a string without quotes

ast.parse cannot replace this: a word such as `class`, RecBole's default feature, is a keyword of Python, and
its syntax errors are elsewhere than the mistakes.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeGuard, TypeVar

Scalar = None | bool | int | float | str
Value = Scalar | list["Value"] | dict[str, "Value"]
T = TypeVar("T")

MAX_BITS = 1023  # of a whole number: a float can hold it
MOST = 2**31 - 1  # of what is counted
_DEPTH = 20
_STRING = re.compile(r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*\"""")
# Possessive (++), because giving digits back never helps, but takes the square of the time.
_NUMBER = re.compile(
    r"""[-+]?[ \t]*+
        (?:0[xX][\da-fA-F_]++|0[oO][0-7_]++|0[bB][01_]++
          |(?:\d[\d_]*+\.?[\d_]*+|\.\d[\d_]*+)(?:[eE][-+]?\d[\d_]*+)?+)
        (?![\w.])""",
    re.X | re.ASCII,
)
_CALL = re.compile(r"[ \t]*\(")
_WORD = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)
_NAMES: dict[str, Scalar] = {"True": True, "False": False, "None": None}


def is_number(value: Value) -> TypeGuard[int | float]:
    """Whether `value` is a number; unlike in Python, True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_count(value: Value, low: int = 1) -> bool:
    """Whether `value` is a whole number from `low` that RecBole's arrays can be as long as."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= MOST


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


class LiteralError(ValueError):
    """What is wrong in a text, at `offset` (from 0), and how to correct it."""

    def __init__(self, what: str, offset: int, fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.offset = offset
        self.fix = fix


@dataclass(frozen=True)
class Element:
    """One value of a choice, and its offset in the line."""

    value: Value
    offset: int


def read_elements(text: str, start: int) -> list[Element]:
    """The elements of the list in `text` from `start` on; brackets may be left out: `1, 2, 3`.

    A comment may follow.

    Raises:
        LiteralError: the first mistake.
    """
    reader = _Reader(text, start)
    reader.skip()
    opening = reader.peek()
    closing = {"[": "]", "(": ")"}.get(opening, "")
    first = reader.at
    if closing:
        reader.at += 1
    elements = reader.elements(closing, depth=1)
    if closing:
        reader.expect(closing, first, opening)
        reader.skip()
        if reader.peek() == ",":  # the bracket closed the first value only: ['a'], ['a', 'b']
            reader.at = first
            elements = reader.elements("", depth=1)
    elif len(elements) == 1 and not reader.comma:
        raise LiteralError("a choice needs a list of values", first, "Write them in brackets: [1, 2, 3].")
    reader.skip()
    if reader.peek() not in ("", "#"):
        raise LiteralError("unexpected text after the list", reader.at, _expression_fix(text[reader.at :]))
    return elements


def read_value(text: str) -> Value:
    """The value that is the whole of `text`, or the list of several with commas; a string needs quotes.

    Raises:
        LiteralError: the first mistake.
    """
    reader = _Reader(text, 0, words=False)
    elements = reader.elements("", depth=1)
    if not elements:
        raise LiteralError("a value is missing here", reader.at)
    if reader.at != len(text):
        raise LiteralError("unexpected text after the value", reader.at)
    return [element.value for element in elements] if reader.comma else elements[0].value


def read_words(text: str) -> list[Value]:
    """The elements of the list that is the whole of `text`: values or words, with or without brackets.

    Raises:
        LiteralError: the first mistake.

    Example:
        >>> read_words("[class, 'release_year']"), read_words("movie title, 类别")
        (['class', 'release_year'], ['movie title', '类别'])
    """
    if text.strip() and not re.search(r"[\[\](){}'\"]", text):
        return [from_string(word.strip()) for word in text.split(",")]
    reader = _Reader(text.strip(), 0)
    value = reader.value(depth=1)
    if reader.at != len(reader.text) or not isinstance(value, list):
        raise LiteralError("not a list", reader.at)
    return value


def from_string(text: str) -> Value:
    """The value that RecBole reads from a string in a configuration.

    A string that spells a literal, or several with commas, is that literal or list; any other stays a string.
    Source: recbole/config/configurator.py, _convert_config_dict.
    """
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return read_value(text.strip())
    except LiteralError:
        return text


class _Reader:
    def __init__(self, text: str, at: int, words: bool = True) -> None:
        self.text = text
        self.at = at
        self.words = words
        self.comma = False  # whether the last series had one

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def skip(self) -> None:
        while self.peek() and self.peek() in " \t":
            self.at += 1

    def expect(self, closing: str, opened: int, opening: str) -> None:
        self.skip()
        if self.peek() == closing:
            self.at += 1
            return
        if self.peek() in ("", "#"):
            raise LiteralError(f"this `{opening}` is never closed", opened, f"Add `{closing}` at the end.")
        raise LiteralError(f"expected `,` or `{closing}`", self.at, _expression_fix(self.text[self.at :]))

    def elements(self, closing: str, depth: int) -> list[Element]:
        def element() -> Element:
            offset = self.at
            return Element(self.value(depth), offset)

        return self.series(closing, element)

    def series(self, closing: str, read_one: Callable[[], T]) -> list[T]:
        """What `read_one` reads, between commas, up to `closing`, a comment or the end."""
        found: list[T] = []
        comma = False
        while True:
            self.skip()
            if self.peek() in (closing, "", "#"):
                break
            if self.peek() == ",":
                raise LiteralError("a value is missing before this comma", self.at)
            found.append(read_one())
            self.skip()
            if self.peek() != ",":
                break
            comma = True
            self.at += 1
        self.comma = comma
        return found

    def value(self, depth: int) -> Value:
        self.skip()
        if depth > _DEPTH:
            raise LiteralError(f"brackets are nested more than {_DEPTH} deep", self.at)
        start, char = self.at, self.peek()
        if char in ("[", "("):
            self.at += 1
            closing = "]" if char == "[" else ")"
            values = [element.value for element in self.elements(closing, depth + 1)]
            comma = self.comma
            self.expect(closing, start, char)
            # (1) is 1 in brackets, (1,) a tuple; RecBole takes tuples as lists.
            return values[0] if char == "(" and len(values) == 1 and not comma else values
        if char == "{":
            self.at += 1
            pairs = self.series("}", lambda: self._pair(depth + 1))
            self.expect("}", start, "{")
            return dict(pairs)
        if char in ("'", '"'):
            return self._string()
        if number := _NUMBER.match(self.text, self.at):
            return self._number(number)
        if word := _WORD.match(self.text, self.at):
            return self._word(word)
        missing = char in ("", "#", "]", ")", "}")
        what = "a value is missing here" if missing else "not a value"
        raise LiteralError(what, start, _expression_fix(self.text[start:]))

    def _pair(self, depth: int) -> tuple[str, Value]:
        offset = self.at
        key = self.value(depth)
        if not isinstance(key, str):
            raise LiteralError("a key must be a string", offset)
        self.skip()
        if self.peek() != ":":
            raise LiteralError("expected `:` after the key", self.at)
        self.at += 1
        return key, self.value(depth)

    def _string(self) -> str:
        match = _STRING.match(self.text, self.at)
        if match is None:
            raise LiteralError(
                "this quote is never closed", self.at, "Add the same quote at the end of the string."
            )
        try:
            with warnings.catch_warnings(action="ignore"):  # of escapes such as \d, which stay as they are
                text = ast.literal_eval(match.group())
        except (SyntaxError, ValueError) as error:
            raise LiteralError("a string with an unknown escape", match.start()) from error
        self.at = match.end()
        return str(text)

    def _number(self, match: re.Match[str]) -> Scalar:
        text = match.group()
        try:
            number = ast.literal_eval(text)
        except (SyntaxError, ValueError) as error:
            raise LiteralError(f"{text[:40]!r} is not a number", self.at) from error
        assert isinstance(number, int | float)
        if (isinstance(number, int) and number.bit_length() > MAX_BITS) or number in (math.inf, -math.inf):
            raise LiteralError("the number is too large", self.at)
        self.at = match.end()
        return number

    def _word(self, match: re.Match[str]) -> Scalar:
        word = match.group()
        if _CALL.match(self.text, match.end()):
            raise LiteralError("function calls are not evaluated", self.at, "Write the values out.")
        if word in ("nan", "inf"):
            raise LiteralError("values must be finite", self.at)
        if word not in _NAMES and not self.words:
            raise LiteralError("a word without quotes", self.at)
        self.at = match.end()
        return _NAMES.get(word, word)


def _expression_fix(rest: str) -> str:
    if re.match(r"[-+*/%]|for\b|if\b", rest):
        return "Expressions are not evaluated: write the values out."
    if re.match(r"[\d.'\"\w]", rest) or rest[:1] in ("\uff0c", "\u3001", ";"):
        return "Write `,` between two values."
    return ""
