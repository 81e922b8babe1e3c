"""A best configuration on a bound of the search space, and the line that searches beyond it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasrecf_tune.analysis.bounds import AtBound, at_bounds
from sasrecf_tune.errors import InputError
from sasrecf_tune.inputs.hyperparameters import TABLE
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.search_space import Choice, Parameter
from sasrecf_tune.inputs.validation import check_space
from sasrecf_tune.trials import State, TrialRecord

BASE = {"model": "SASRecF"}


def ends(parameter: Parameter) -> tuple[Any, Any]:
    if isinstance(parameter, Choice):
        numbers: list[Any] = list(parameter.choices)
        return min(numbers), max(numbers)
    low, high = parameter.bounds
    return low, high


def at_end(line: str, upper: bool) -> list[AtBound]:
    """What is said where the best value of `line` is the last one up or down."""
    space = parse(line)
    (parameter,) = space
    low, high = ends(parameter)
    records = [TrialRecord(i, State.COMPLETE, {parameter.name: v}, 0.1) for i, v in enumerate((low, high))]
    return at_bounds({parameter.name: high if upper else low}, records, space, BASE)


@pytest.mark.parametrize(
    ("line", "lower", "upper"),
    [
        ("learning_rate log 0.0001,0.01", "log 1e-05,0.01", "log 0.0001,0.1"),
        ("learning_rate loguniform -9.2,-4.6", "loguniform -11.5,-4.6", "loguniform -9.2,-2.3"),
        ("learning_rate uniform 0.001,0.1", "uniform 0.0005,0.1", "uniform 0.001,0.1495"),
        ("hidden_dropout_prob uniform 0.1,0.5", "uniform 0.0,0.5", "uniform 0.1,0.7"),
        ("hidden_dropout_prob quniform 0.1,0.5,0.1", "quniform 0.0,0.5,0.1", "quniform 0.1,0.7,0.1"),
        ("n_layers int 1,3", None, "int 1,4"),
        ("n_layers int 2,6,2", "int 1,6", "int 2,8,2"),
        ("hidden_size quniform 32,128,32", "quniform 16,128,16", "quniform 32,192,32"),
        ("n_heads choice [1, 2]", None, "choice [1, 2, 4]"),
        ("hidden_size choice [32, 64, 128]", "choice [16, 32, 64, 128]", "choice [32, 64, 128, 256]"),
        ("learning_rate choice [0.01, 0.001]", "choice [0.01, 0.001, 0.0001]", "choice [0.1, 0.01, 0.001]"),
        ("hidden_dropout_prob choice [0.0, 0.2, 0.4]", None, "choice [0.0, 0.2, 0.4, 0.6]"),
        ("weight_decay choice [0.0, 0.001, 0.01]", None, "choice [0.0, 0.001, 0.01, 0.1]"),
        ("train_batch_size choice [512, 1024]", "choice [256, 512, 1024]", "choice [512, 1024, 2048]"),
    ],
)
def test_a_wider_range_is_printed_unless_the_bound_is_the_limit(
    line: str, lower: str | None, upper: str | None
) -> None:
    name = line.split()[0]
    for bound, expected in (("lower", lower), ("upper", upper)):
        found = at_end(line, bound == "upper")
        if expected is None:
            assert found == []
            continue
        (one,) = found
        assert (one.name, one.bound, one.line) == (name, bound, f"{name} {expected}")
        check_space(parse(one.line))


@pytest.mark.parametrize(
    "line",
    [
        "hidden_dropout_prob choice [0, 1]",
        "seed choice [1, 2, 3]",
        "learner choice [adam, adamw]",
        "n_layers choice [2]",
        "weight_decay uniform 0,100",
        "shuffle choice [True, False]",
    ],
)
def test_nothing_is_said_of_limits_and_of_what_has_no_order(line: str) -> None:
    space = parse(line)
    (parameter,) = space
    values = list(parameter.values) if parameter.size else list(ends(parameter))
    records = [TrialRecord(i, State.COMPLETE, {parameter.name: v}, 0.1) for i, v in enumerate(values)]
    assert not any(at_bounds({parameter.name: value}, records, space, BASE) for value in values)


def test_nothing_is_said_of_a_value_inside_or_of_one_trial() -> None:
    space = parse("n_layers int 1,5\nlearning_rate log 1e-4,1e-1\n")
    inside = {"n_layers": 3, "learning_rate": 0.01}
    records = [TrialRecord(0, State.COMPLETE, inside, 0.1), TrialRecord(1, State.COMPLETE, inside, 0.1)]
    assert at_bounds(inside, records, space, BASE) == []
    edge = {"n_layers": 5, "learning_rate": 0.0999}
    assert at_bounds(edge, [TrialRecord(0, State.COMPLETE, edge, 0.1)], space, BASE) == []
    other = TrialRecord(1, State.COMPLETE, inside, 0.1)
    found = at_bounds(edge, [TrialRecord(0, State.COMPLETE, edge, 0.1), other], space, BASE)
    assert [(one.name, one.bound) for one in found] == [("n_layers", "upper"), ("learning_rate", "upper")]


def test_a_value_that_cannot_exist_with_the_rest_is_not_proposed() -> None:
    assert at_end("n_heads choice [1, 2, 64]", upper=True) == []


NUMBERS = [n for n, row in TABLE.items() if row.kind in ("int", "float") and row.tunable == "yes"]


@given(st.sampled_from(NUMBERS), st.data())
def test_every_line_parses_and_passes_the_check_and_is_wider(name: str, data: st.DataObject) -> None:
    known = TABLE[name]
    least, most = max(known.low, 1e-6), min(known.high, 1000)
    if known.kind == "int":
        pair = data.draw(st.lists(st.integers(int(least), int(most)), min_size=2, max_size=4, unique=True))
        lines = [f"int {min(pair)},{max(pair)}", f"choice {pair}", f"quniform {min(pair)},{max(pair)},2"]
    else:
        floats = st.floats(least, most).map(lambda x: float(f"{x:.4g}"))
        real = data.draw(st.lists(floats, min_size=2, max_size=4, unique=True))
        low, high = min(real), max(real)
        lines = [f"uniform {low},{high}", f"log {low},{high}", f"choice {real}"]
        lines.append(f"quniform {low},{high},{(high - low) / 4!r}")
    for line in lines:
        try:
            check_space(parse(f"{name} {line}"))
        except InputError:
            continue
        for upper in (False, True):
            for one in at_end(f"{name} {line}", upper):
                check_space(parse(one.line))
                (before,), (after,) = parse(f"{name} {line}"), parse(one.line)
                assert ends(after)[upper] != ends(before)[upper]
                assert (ends(after)[upper] > ends(before)[upper]) == upper
                assert ends(after)[not upper] == pytest.approx(ends(before)[not upper], rel=1e-5, abs=1e-9)
