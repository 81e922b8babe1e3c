"""Parameters of a space: their values, and what a space is written and identified as."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sasrecf_tune.inputs.literals import Value
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.search_space import Choice, SearchSpace
from tests.support.params_files import DOCUMENTED
from tests.support.strategies import exactly, spaces


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("a int 1,3", [1, 2, 3]),
        ("a int -4,5,3", [-4, -1, 2, 5]),
        ("a int 2,9,3", [2, 5, 8]),
        ("a quniform 8,32,8", [8, 16, 24, 32]),
        ("a quniform 1.0,3.0,1.0", [1, 2, 3]),
        ("a quniform 0,0.3,0.1", [0.0, 0.1, 0.2, 0.3]),
        ("a quniform 5,30,16", [0, 16, 32]),
        ("a quniform 0.5,2.5,1", [1.0, 2.0]),
        ("a quniform 0,1,5", [0]),
        ("a choice [1, 1.0, True]", [1, 1.0, True]),
    ],
)
def test_values(line: str, values: list[Value]) -> None:
    (parameter,) = parse(line)
    assert exactly(list(parameter.values)) == exactly(values)
    assert parameter.size == len(values)
    assert all(parameter.contains(value) for value in values)


@pytest.mark.parametrize(
    ("line", "inside", "outside"),
    [
        ("a uniform 0,1", [0, 0.5, 1.0], [-0.1, 1.1, True, "1", None]),
        ("a log 0.1,1", [0.1, 1], [0.09, 0, False]),
        ("a loguniform -1,0", [math.exp(-1), 1.0], [0.36, 1.01, -1]),
        ("a int 1,7,3", [1, 4, 7], [2, 10, 1.0, True, "1"]),
        ("a quniform 0,1,0.25", [0.25, 1.0, 1], [0.3, 1.25, True, [0.25]]),
        ("a choice [1, 'x', [2]]", [1, "x", [2]], [1.0, True, "1", [2.0]]),
    ],
)
def test_contains(line: str, inside: list[Value], outside: list[Value]) -> None:
    (parameter,) = parse(line)
    assert [parameter.contains(value) for value in inside] == [True] * len(inside)
    assert [parameter.contains(value) for value in outside] == [False] * len(outside)


def test_only_finite_spaces_have_a_size() -> None:
    assert parse("a choice [1, 2]\nb int 1,4\nc quniform 0,1,.5").size == 24
    infinite = parse("a choice [1, 2]\nb uniform 0,1")
    assert infinite.size is None
    with pytest.raises(TypeError, match="infinitely many"):
        _ = infinite["b"].values


def test_values_given_twice_are_tried_once() -> None:
    space = parse("a choice [1, '1', 1, 2, ['x'], ['x']]")
    assert space["a"].values == (1, 2, ["x"])
    assert space.notes == (
        "line 1: a lists 1 more than once; it is tried once",
        "line 1: a lists ['x'] more than once; it is tried once",
    )


@settings(deadline=None)
@given(spaces())
def test_a_written_space_reads_back_equal(space: SearchSpace) -> None:
    again = parse(space.write())
    assert again == space
    assert [exactly(list(p.choices)) for p in again if isinstance(p, Choice)] == [
        exactly(list(p.choices)) for p in space if isinstance(p, Choice)
    ]
    assert again.fingerprint == space.fingerprint and again.size == space.size
    assert all("are exponents of e" in note for note in again.notes)


@settings(deadline=None)
@given(spaces(), st.randoms(use_true_random=False))
def test_the_fingerprint_is_of_the_meaning_alone(space: SearchSpace, order: random.Random) -> None:
    mixed = []
    for p in space:
        if isinstance(p, Choice):
            p = Choice(p.name, tuple(order.sample(p.choices, len(p.choices))))
        mixed += ["# comment", f"  {p.write()}\t# comment", ""]
    order.shuffle(mixed)
    assert parse("\n".join(mixed)).fingerprint == space.fingerprint


def test_other_meanings_have_other_fingerprints() -> None:
    lines = [
        *("a choice [1]", "a choice [1.0]", "a choice [True]", "a choice [\"'1'\"]", "a choice [[1]]"),
        *("b choice [1]", "a choice [1, 2]", "a int 1,2", "a quniform 1,2,1", "a uniform 1,2"),
        *("a loguniform 1,2", "a log 1,2", "a choice [1]\nb choice [1]", "a choice [{'a': 1}]"),
    ]
    assert len({parse(line).fingerprint for line in lines}) == len(lines)


def test_the_fingerprint_stays_the_same_over_versions() -> None:
    # A study finds itself again by it, so a change here breaks every study that exists.
    assert parse(DOCUMENTED).fingerprint == "97979688bbb98d7e"
