"""Combinations of values that cannot exist."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasrecf_tune.inputs import constraints
from sasrecf_tune.inputs.constraints import Feasibility, feasibility, feasible_cells, resolve, violations
from sasrecf_tune.inputs.literals import Value
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.search_space import Choice, SearchSpace


@pytest.mark.parametrize(
    ("given_config", "args"),
    [
        ({}, None),
        ({"loss_type": "CE", "train_neg_sample_args": {"sample_num": 2}}, None),
        ({"loss_type": "BPR"}, {"distribution": "uniform", "sample_num": 1}),
        ({"loss_type": "BPR", "train_neg_sample_args": None}, {"distribution": "uniform", "sample_num": 1}),
        ({"loss_type": "BPR", "train_neg_sample_args": {"sample_num": 2}}, {"sample_num": 2}),
        (
            {"loss_type": "BPR", "train_neg_sample_args": {"distribution": "none"}},
            {"distribution": "uniform", "sample_num": 1},
        ),
    ],
)
def test_negative_samples_follow_the_loss(given_config: dict[str, Value], args: Value) -> None:
    assert resolve(given_config)["train_neg_sample_args"] == args


def test_violations_count_defaults_in() -> None:
    assert violations({"hidden_size": 30, "n_heads": 4}) == ("hidden_size 30 is not divisible by n_heads 4",)
    assert violations({"n_heads": 3}) == ("hidden_size 64 is not divisible by n_heads 3",)
    assert violations({"hidden_size": 63}) == ("hidden_size 63 is not divisible by n_heads 2",)
    assert violations({}) == ()


sizes = st.lists(st.integers(1, 12), min_size=1, max_size=4, unique=True).map(tuple)


@st.composite
def constrained(draw: st.DrawFn) -> tuple[SearchSpace, dict[str, Value]]:
    """A finite space with some of the constrained parameters, and a base that may fix others."""
    possible = [Choice("n_layers", (1, 2)), Choice("hidden_act", ("gelu", "relu"))]
    possible += [Choice(name, draw(sizes)) for name in ("hidden_size", "n_heads")]
    picked = draw(st.lists(st.sampled_from(possible), min_size=1, unique_by=lambda p: p.name))
    base = draw(st.dictionaries(st.sampled_from(["hidden_size", "n_heads"]), st.integers(1, 12)))
    return SearchSpace(tuple(picked)), dict(base)


def by_brute_force(space: SearchSpace, base: dict[str, Value]) -> Iterator[dict[str, Value]]:
    for cell in itertools.product(*(p.values for p in space)):
        config = {"hidden_size": 64, "n_heads": 2} | base | dict(zip(space.names, cell, strict=True))
        size, heads = config["hidden_size"], config["n_heads"]
        assert isinstance(size, int) and isinstance(heads, int)
        if size % heads == 0:
            yield {name: config[name] for name in space.names}


@given(constrained())
def test_counts_and_cells_are_those_of_brute_force(case: tuple[SearchSpace, dict[str, Value]]) -> None:
    space, base = case
    expected = list(by_brute_force(space, base))
    counted = feasibility(space, base)
    assert list(feasible_cells(space, base)) == expected
    assert space.size is not None
    left_out = space.size - len(expected)
    rule = "hidden_size is not divisible by n_heads"
    reasons = ((rule, left_out),) if left_out else ()
    assert counted == Feasibility(space.size, len(expected), reasons)


@given(constrained())
def test_the_cells_are_the_same_when_there_are_too_many_to_count(
    case: tuple[SearchSpace, dict[str, Value]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constraints, "_MAX_COUNTED", 0)
        assert list(feasible_cells(*case)) == list(by_brute_force(*case))
        assert feasibility(*case).reasons == ()


def test_an_infinite_space() -> None:
    space = parse("learning_rate log 0.001,0.1\nhidden_size choice [30, 64]\nn_heads choice [4, 2]")
    counted = feasibility(space, {})
    assert counted.total is None and counted.feasible is None
    assert counted.reasons == (("hidden_size is not divisible by n_heads", None),)
    nothing = feasibility(parse("learning_rate log 0.001,0.1\nn_heads choice [3]"), {})
    assert nothing.total is None and nothing.feasible == 0


def test_huge_spaces_neither_hang_nor_are_listed() -> None:
    # The dead ends alone are more than could ever be walked through.
    rest = "".join(f"{name} int 1,1000\n" for name in ("n_layers", "inner_size", "epochs", "seed"))
    dead = parse(f"n_heads choice [3]\n{rest}hidden_size choice [64]\n")
    assert next(feasible_cells(dead, {}), None) is None
    late = parse(f"hidden_size choice [31, 64]\n{rest}n_heads choice [4]\n")
    assert next(feasible_cells(late, {}))["hidden_size"] == 64
    assert feasibility(late, {}).feasible == 1000**4
    both = parse("hidden_size int 1,65536\nn_heads int 1,1024")
    assert feasibility(both, {}).total == feasibility(both, {}).feasible == 65536 * 1024
    assert next(feasible_cells(both, {})) == {"hidden_size": 1, "n_heads": 1}
