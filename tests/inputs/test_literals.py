"""Python literals without eval."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sasrecf_tune.inputs.literals import LiteralError, Value, from_string, read_elements, read_value
from tests.support.strategies import exactly, source_values, values


def plain(value: Any) -> Any:
    """Tuples as lists, as a configuration has them."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


@given(values)
def test_values_written_by_repr_are_read_back(value: Value) -> None:
    assert exactly(read_value(repr(value))) == exactly(value)
    assert exactly(read_value(f" \t{value!r} \t")) == exactly(value)


@given(source_values, st.sampled_from(["", " ", "\t "]))
def test_literals_are_read_as_python_reads_them(tokens: list[str], gap: str) -> None:
    text = gap.join(tokens)
    assert exactly(read_value(text)) == exactly(plain(ast.literal_eval(text)))


@settings(max_examples=300)
@given(st.one_of(st.text(), st.text("0123456789abefxoEjTrue_.,-+[](){}'\"\\: #")))
def test_any_text_is_read_as_by_python_or_an_error_with_an_offset(text: str) -> None:
    try:
        value = read_value(text)
    except LiteralError as error:
        assert 0 <= error.offset <= len(text) and error.what
    else:
        assert exactly(value) == exactly(plain(ast.literal_eval(text.strip(" \t"))))


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("", 0, "a value is missing here"),
        ("f(1)", 0, "function calls are not evaluated"),
        ("f (1)", 0, "function calls are not evaluated"),
        ("[1, open('x')]", 4, "function calls are not evaluated"),
        ("1+1", 1, "unexpected text after"),
        ("[1 * 2]", 3, "expected `,` or `]`"),
        ("[x for x in y]", 1, "a word without quotes"),
        ("[1 for x in y]", 3, "expected `,` or `]`"),
        ("lambda: 1", 0, "a word without quotes"),
        ("--1", 0, "not a value"),
        ("1j", 0, "not a value"),
        ("1__0", 0, "is not a number"),
        ("007", 0, "is not a number"),
        ("0x", 0, "not a value"),
        ("1e999", 0, "the number is too large"),
        ("-" + "9" * 400, 0, "the number is too large"),
        ("nan", 0, "must be finite"),
        ("b'x'", 0, "a word without quotes"),
        ("'a' 'b'", 4, "unexpected text after"),
        ("'a", 0, "this quote is never closed"),
        ("'a\"", 0, "this quote is never closed"),
        ("['a\\']", 1, "this quote is never closed"),
        (r"'\x5'", 0, "an unknown escape"),
        ("[1, 2", 0, "this `[` is never closed"),
        ("(1", 0, "this `(` is never closed"),
        ("{'a': 1", 0, "this `{` is never closed"),
        ("[1, 2)", 5, "expected `,` or `]`"),
        ("[1]]", 3, "unexpected text after"),
        ("[,]", 1, "a value is missing before"),
        ("{'a'}", 4, "expected `:`"),
        ("{1: 2}", 1, "a key must be a string"),
        ("{'a': }", 6, "a value is missing here"),
        ("{**x}", 1, "not a value"),
        ("...", 0, "not a value"),
        ("[" * 21 + "]" * 21, 20, "brackets are nested more than 20 deep"),
        ("[" * 10**6, 20, "brackets are nested more than 20 deep"),
        ("{'a':" * 10**5, 96, "brackets are nested more than 20 deep"),
    ],
)
def test_invalid_literals_are_rejected(text: str, offset: int, message: str) -> None:
    with pytest.raises(LiteralError) as caught:
        read_value(text)
    assert message in caught.value.what and caught.value.offset == offset


def test_twenty_nested_brackets_are_read() -> None:
    assert read_value("[" * 20 + "]" * 20) == ast.literal_eval("[" * 20 + "]" * 20)


@pytest.mark.parametrize(
    ("text", "elements", "offsets"),
    [
        ("[1, 'b', c]", [1, "b", "c"], [1, 4, 9]),
        ("(1, 2)", [1, 2], [1, 4]),
        ("1, 2", [1, 2], [0, 3]),
        ("1,", [1], [0]),
        ("['a'], ['a', 'b']", [["a"], ["a", "b"]], [0, 7]),
        ("('a',),", [["a"]], [0]),
        ("[[1], 2] # [3]", [[1], 2], [1, 6]),
        ("[a-b, _c, '#']", ["a-b", "_c", "#"], [1, 6, 10]),
        ("[]", [], []),
        ("", [], []),
    ],
)
def test_elements_are_read_with_their_offsets(text: str, elements: list[Value], offsets: list[int]) -> None:
    found = read_elements(f"x choice {text}", 9)
    assert [element.value for element in found] == elements
    assert [element.offset - 9 for element in found] == offsets


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("CE", "CE"),
        ("true", True),
        ("FALSE", False),
        ("None", None),
        ("none", "none"),
        ("1e-3", 0.001),
        (" 5 ", 5),
        ("['class']", ["class"]),
        ("'a','b'", ["a", "b"]),
        ("1,", [1]),
        ("(1)", 1),
        ("'5'", "5"),
        ("[class]", "[class]"),
        ("[5,inf)", "[5,inf)"),
        ("1 + 1", "1 + 1"),
        ("5 # five", "5 # five"),
        (",", ","),
        ("", ""),
    ],
)
def test_a_string_is_converted_to_the_value_it_spells(text: str, value: Value) -> None:
    assert exactly(from_string(text)) == exactly(value)


@given(st.text())
def test_a_string_in_quotes_stays_a_string(text: str) -> None:
    assert from_string(repr(text)) == text
