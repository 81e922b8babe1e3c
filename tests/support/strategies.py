"""Hypothesis strategies for search spaces and for files as RecBole reads them."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from sasrecf_tune.inputs.literals import Scalar, Value
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

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True)

scalars: st.SearchStrategy[Scalar] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**18), 10**18),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(["1", "True", "[1]", "1,2", "'a'", "None", "0x1", "a#b", "true ", "[5,inf)"]),
)
values: st.SearchStrategy[Value] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def exactly(value: Value) -> str:
    """A text that is equal for equal values of equal types only; the order of keys does not count."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{exactly(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(exactly, value)) + "]"
    return repr(value)


@st.composite
def bounds(draw: st.DrawFn, least: float = -1e300, greatest: float = 1e300) -> tuple[float, float]:
    """Two floats, the first below the second."""
    numbers = st.floats(least, greatest, allow_nan=False)
    low, high = sorted(draw(st.tuples(numbers, numbers).filter(lambda pair: pair[0] != pair[1])))
    return low, high


@st.composite
def quniforms(draw: st.DrawFn, name: str, most: int = 10**9) -> QUniform:
    """At most about `most` multiples of a q, whole or not."""
    if draw(st.booleans()):
        first = draw(st.integers(-(10**6), 10**6))
        step = draw(st.integers(1, 1000))
        return QUniform(name, first, first + draw(st.integers(1, min(most * step, 10**9))), step)
    q = draw(st.one_of(st.sampled_from([0.1, 0.05, 0.25, 1e-4, 0.3]), st.floats(1e-6, 1e3)))
    low = draw(st.floats(-100, 100)) * q
    high = low + draw(st.floats(0.01, min(most, 10**6))) * q
    return QUniform(name, low, high, q)


@st.composite
def ints(draw: st.DrawFn, name: str) -> Int:
    low = draw(st.integers(-1000, 1000))
    high = low + draw(st.integers(1, 1000))
    return Int(name, low, high, draw(st.integers(1, high - low)))


def choices(name: str) -> st.SearchStrategy[Choice]:
    several = st.lists(values, min_size=1, max_size=5, unique_by=exactly)
    return several.map(lambda found: Choice(name, tuple(found)))


def parameters(name: str) -> st.SearchStrategy[Parameter]:
    return st.one_of(
        choices(name),
        bounds().map(lambda b: Uniform(name, *b)),
        bounds(-700, 700).map(lambda b: LogUniform(name, *b)),
        bounds(5e-324, 1e300).map(lambda b: Log(name, *b)),
        quniforms(name),
        ints(name),
    )


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    return SearchSpace(tuple(draw(parameters(name)) for name in names))


# What RecBole reads: tokens, since it does not mind spaces between them.
# Without quotes, operators and spaces: what its eval makes of those has tests of its own.
_plain_text = st.text("abcxyzEXYZéß漢019_.:;@!?$", max_size=8)
_words = st.sampled_from(
    [
        *("", "CE", "BPR", "gelu", "sum", "class", "True", "false", "TRUE", "none", "None", "inf", "[5,inf)"),
        *("1e-3", "10.", "1_0", "007", "0x10", "-1", "1j", "...", "(1,inf]", "1,2", "(1,)", "(1)", "{1,2}"),
        *("[1,[2]]", "[[],{}]", "[a]", "{'a':1}", "'a','b',", "b'a'", "'True'", "['class']", '["a","b"]'),
    ]
)


@st.composite
def _string(draw: st.DrawFn) -> str:
    text = draw(st.one_of(_plain_text, _words))
    quoted = repr(text)
    if '"' not in text and "\\" not in text and draw(st.booleans()):
        quoted = f'"{text}"'
    return quoted


@st.composite
def _number(draw: st.DrawFn) -> str:
    if draw(st.booleans()):
        whole = draw(st.integers(0, 10**9))
        text = draw(
            st.sampled_from(["{}", "{:_}", "{:#x}", "{:#X}", "{:#o}", "{:#b}", "{}.", "{}e0", "{}E-2"])
        )
        text = text.format(whole)
    else:
        real = draw(st.floats(0, 1e300))
        text = draw(st.sampled_from(["{!r}", "{:e}", "{:.3E}", "{:.2e}", "{:g}"])).format(real)
        if text.startswith("0.") and text != "0.":
            text = text[draw(st.integers(0, 1)) :]
    return draw(st.sampled_from(["", "", "-", "+", "- "])) + text


_leaf = st.one_of(_string(), _number(), st.sampled_from(["True", "False", "None"])).map(lambda text: [text])


def _series(inner: st.SearchStrategy[list[str]], left: str, right: str) -> st.SearchStrategy[list[str]]:
    @st.composite
    def series(draw: st.DrawFn) -> list[str]:
        elements = draw(st.lists(inner, max_size=3))
        tokens = [left]
        for element in elements:
            tokens += [*element, ","]
        if len(elements) > 1 and draw(st.booleans()):
            tokens.pop()
        return [*tokens, right]

    return series()


def _mapping(inner: st.SearchStrategy[list[str]]) -> st.SearchStrategy[list[str]]:
    keys = st.sampled_from(["'max_norm'", '"a"', "'uniform'"])
    pair = st.tuples(keys, inner).map(lambda both: [both[0], ":", *both[1]])
    return st.lists(pair, max_size=2).map(
        lambda pairs: ["{", *[token for pair in pairs for token in [*pair, ","]], "}"]
    )


source_values = st.recursive(
    _leaf,
    lambda inner: st.one_of(
        _series(inner, "[", "]"),
        _series(inner, "(", ")"),
        inner.map(lambda tokens: ["(", *tokens, ")"]),
        _mapping(inner),
    ),
    max_leaves=6,
)


@st.composite
def _choice_tokens(draw: st.DrawFn) -> list[str]:
    elements = draw(st.lists(source_values, min_size=1, max_size=4))
    left, right = draw(st.sampled_from([("[", "]"), ("[", "]"), ("(", ")"), ("", "")]))
    tokens = [left]
    for element in elements:
        tokens += [*element, ","]
    if draw(st.booleans()) and (len(elements) > 1 or left == "["):
        tokens.pop()
    return [*tokens, right]


@st.composite
def _range_tokens(draw: st.DrawFn, kind: str) -> list[str]:
    def text(number: float) -> str:
        whole = float(number).is_integer() and abs(number) < 1e15
        formats = ["{!r}", "+{!r}" if math.copysign(1, number) > 0 else "{!r}", "{:.17e}", "{:.20E}"]
        return draw(st.sampled_from([*formats, "{:_.0f}", "{:.0f}."] if whole else formats)).format(number)

    if kind == "quniform":
        made = draw(quniforms("x"))
        numbers = [float(made.low), float(made.high), float(made.q)]
    else:
        numbers = list(draw(bounds(-700, 700) if kind == "loguniform" else bounds()))
    tokens: list[str] = []
    for number in numbers:
        tokens += [text(number), ","]
    return tokens[:-1]


@st.composite
def recbole_lines(draw: st.DrawFn, name: str) -> str:
    """One line that RecBole reads without an error."""
    kind = draw(st.sampled_from(["choice", "choice", "choice", "uniform", "quniform", "loguniform"]))
    tokens = draw(_choice_tokens() if kind == "choice" else _range_tokens(kind))
    gap = st.sampled_from(["", "", "", " ", "  ", "\t", " \t "])
    line = f"{name} {kind} " + "".join(token + draw(gap) for token in tokens)
    if kind == "choice" and draw(st.booleans()):
        line += draw(st.sampled_from(["#", " # a comment [1,2]", " #'", "#choice ["]))
    space = st.sampled_from(["", "", " ", "\t", "\u00a0 ", "\f"])
    return draw(space) + line + draw(space)


@st.composite
def recbole_files(draw: st.DrawFn) -> str:
    """A file that RecBole reads without an error and without dropping any of it."""
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    lines: list[str] = []
    for name in names:
        lines += draw(st.lists(st.sampled_from(["", "   ", "\t", "# comment", "#", "#a"]), max_size=2))
        lines.append(draw(recbole_lines(name)))
    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))
    return end.join(lines) + draw(st.sampled_from(["", end]))


def close(one: float, other: float) -> bool:
    """Equal but for the last digits."""
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
