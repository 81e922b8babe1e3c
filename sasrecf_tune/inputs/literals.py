"""Python literals, read without eval and with the column of whatever is wrong.

value  := list | tuple | dict | string | number | True | False | None | word
word   := letters, digits, _ and -, a letter or _ first: a string without quotes
"""

from __future__ import annotations

import ast
import math
import re
from dataclasses import dataclass
from typing import TypeGuard

Scalar = None | bool | int | float | str
Value = Scalar | list["Value"] | dict[str, "Value"]

_DEPTH = 20
_STRING = re.compile(r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*\"""")
_NUMBER = re.compile(
    r"""[-+]?[ \t]*
        (?:0[xX][\da-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+
          |(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d[\d_]*)?)
        (?![\w.])""",
    re.X | re.ASCII,
)
_CALL = re.compile(r"[ \t]*\(")
_WORD = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)
_NAMES: dict[str, Scalar] = {"True": True, "False": False, "None": None}


def is_number(value: Value) -> TypeGuard[int | float]:
    """Whether `value` is a number; to Python, True and False are too."""
    return isinstance(value, int | float) and not isinstance(value, bool)


class LiteralError(ValueError):
    """What is wrong in a text, at `offset` (from 0), and how to mend it."""

    def __init__(self, what: str, offset: int, fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.offset = offset
        self.fix = fix


@dataclass(frozen=True)
class Element:
    """One value of a choice, and where it stands."""

    value: Value
    offset: int


def read_elements(text: str, start: int) -> list[Element]:
    """The elements of the list in `text` from `start` on; brackets may be left out: `1, 2, 3`.

    A comment may follow. Raises LiteralError.
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
        raise LiteralError("something follows the list", reader.at, _eval_hint(text[reader.at :]))
    return elements


def read_value(text: str) -> Value:
    """A value alone, without words; raises LiteralError."""
    reader = _Reader(text, 0, words=False)
    value = reader.value(depth=1)
    reader.skip()
    if reader.at != len(text):
        raise LiteralError("something follows the value", reader.at)
    return value


def from_string(text: str) -> Value:
    """What RecBole makes of a string in a configuration (config/configurator.py, _convert_config_dict).

    A string that spells a literal, or several with commas, is that literal or list; any other stays a string.
    """
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    reader = _Reader(text.strip(), 0, words=False)
    try:
        elements = reader.elements("", depth=1)
        if reader.at != len(reader.text) or not elements:
            return text
    except LiteralError:
        return text
    return [element.value for element in elements] if reader.comma else elements[0].value


class _Reader:
    def __init__(self, text: str, at: int, words: bool = True) -> None:
        self.text = text
        self.at = at
        self.words = words
        self.comma = False  # whether the last elements() met one

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def skip(self) -> None:
        while self.peek() in (" ", "\t") and self.peek():
            self.at += 1

    def expect(self, closing: str, opened: int, opening: str) -> None:
        self.skip()
        if self.peek() == closing:
            self.at += 1
            return
        if self.peek() in ("", "#"):
            raise LiteralError(f"this `{opening}` is never closed", opened, f"Add `{closing}` at the end.")
        raise LiteralError(f"expected `,` or `{closing}`", self.at, _eval_hint(self.text[self.at :]))

    def elements(self, closing: str, depth: int) -> list[Element]:
        found: list[Element] = []
        self.comma = comma = False
        while True:
            self.skip()
            if self.peek() in (closing, "", "#"):
                break
            if self.peek() == ",":
                raise LiteralError("a value is missing before this comma", self.at)
            offset = self.at
            found.append(Element(self.value(depth), offset))
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
            raise LiteralError("too many brackets in one another", self.at)
        start, char = self.at, self.peek()
        if char in ("[", "("):
            self.at += 1
            closing = "]" if char == "[" else ")"
            elements = self.elements(closing, depth + 1)
            comma = self.comma
            self.expect(closing, start, char)
            values = [element.value for element in elements]
            # (1) is 1 in brackets, (1,) a tuple; RecBole takes tuples as lists.
            return values[0] if char == "(" and len(values) == 1 and not comma else values
        if char == "{":
            return self._dict(depth)
        if char in ("'", '"'):
            return self._string()
        if number := _NUMBER.match(self.text, self.at):
            return self._number(number)
        if word := _WORD.match(self.text, self.at):
            return self._word(word)
        hint = _eval_hint(self.text[start:])
        raise LiteralError(
            "a value is missing here" if char in ("", "#", "]", ")", "}") else "no value", start, hint
        )

    def _dict(self, depth: int) -> Value:
        start = self.at
        self.at += 1
        found: dict[str, Value] = {}
        while True:
            self.skip()
            if self.peek() in ("}", ""):
                break
            offset = self.at
            key = self.value(depth + 1)
            if not isinstance(key, str):
                raise LiteralError("a key must be a string", offset)
            self.skip()
            if self.peek() != ":":
                raise LiteralError("expected `:` after the key", self.at)
            self.at += 1
            found[key] = self.value(depth + 1)
            self.skip()
            if self.peek() != ",":
                break
            self.at += 1
        self.expect("}", start, "{")
        return found

    def _string(self) -> Value:
        match = _STRING.match(self.text, self.at)
        if match is None:
            raise LiteralError(
                "this quote is never closed", self.at, "Add the same quote at the string's end."
            )
        self.at = match.end()
        try:
            text = ast.literal_eval(match.group())
        except (SyntaxError, ValueError) as error:
            raise LiteralError("a string with an unknown escape", match.start()) from error
        return str(text)

    def _number(self, match: re.Match[str]) -> Scalar:
        text = match.group()
        try:
            number = ast.literal_eval(text)
        except (SyntaxError, ValueError) as error:
            raise LiteralError(f"{text[:40]!r} is no number", self.at) from error
        if (isinstance(number, int) and number.bit_length() > 1024) or number in (math.inf, -math.inf):
            raise LiteralError("a number too large", self.at)
        self.at = match.end()
        assert isinstance(number, int | float)
        return number

    def _word(self, match: re.Match[str]) -> Scalar:
        word = match.group()
        if _CALL.match(self.text, match.end()):
            raise LiteralError("a function call cannot be read", self.at, "Write the values out.")
        if word in _NAMES:
            self.at = match.end()
            return _NAMES[word]
        if word in ("nan", "inf"):
            raise LiteralError("values must be finite", self.at)
        if not self.words:
            raise LiteralError("a word without quotes", self.at)
        self.at = match.end()
        return word


def _eval_hint(rest: str) -> str:
    if re.match(r"[-+*/%]|\*\*|for\b|if\b", rest):
        return "Nothing is calculated here: write the values out."
    return ""
