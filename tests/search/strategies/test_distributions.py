"""Optuna's distributions hold exactly the values of a search space."""

from __future__ import annotations

import warnings
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sasrecf_tune.inputs.literals import Value
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.search_space import Choice, LogUniform, Parameter, SearchSpace
from sasrecf_tune.search.strategies.distributions import distributions
from tests.support.strategies import exactly, parameters, spaces


def internal_values(distribution: Any) -> list[Any]:
    """All values of a finite Optuna distribution, as Optuna gives them to a trial."""
    from optuna.distributions import CategoricalDistribution

    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    steps = round((distribution.high - distribution.low) / distribution.step)
    return [distribution.low + k * distribution.step for k in range(steps + 1)]


@settings(deadline=None, max_examples=200)
@given(parameters("x").filter(lambda p: p.size is None or p.size <= 2000))
def test_a_distribution_holds_exactly_the_values_of_the_space(parameter: Parameter) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Optuna warns when it changes a bound
        distribution = distributions(SearchSpace((parameter,)))["x"]
    if parameter.size is None:
        ends = parameter.bounds if isinstance(parameter, LogUniform) else (parameter.low, parameter.high)
        assert (distribution.low, distribution.high) == ends  # type: ignore[attr-defined]
        assert all(parameter.contains(parameter.value(end)) for end in ends)
        return
    labels = internal_values(distribution)
    assert exactly([parameter.value(label) for label in labels]) == exactly(list(parameter.values))
    for value in parameter.values:
        label = parameter.label(value)
        assert distribution._contains(distribution.to_internal_repr(label))
        assert exactly(parameter.value(label)) == exactly(value)


@settings(deadline=None)
@given(st.data(), spaces().filter(lambda space: all(p.size for p in space)))
def test_decode_is_the_inverse_of_encode(data: st.DataObject, space: SearchSpace) -> None:
    cell: dict[str, Value] = {}
    for p in space:
        assert p.size is not None
        cell[p.name] = p.values[data.draw(st.integers(0, p.size - 1))]
    labels = space.encode(cell)
    assert exactly(space.decode(labels)) == exactly(cell)
    first = space.names[0]
    del labels[first]
    assert first not in space.decode(labels)


def test_multiples_with_many_digits_are_all_there() -> None:
    # Optuna's decimal arithmetic finds seven times this number, rounded, one step too short.
    (parameter,) = parse("x quniform 0,2.4,0.3333333333333333")
    distribution = distributions(SearchSpace((parameter,)))["x"]
    assert [parameter.value(label) for label in internal_values(distribution)] == list(parameter.values)
    assert (
        parameter.size == 8 and parameter.value(parameter.label(parameter.values[-1])) == parameter.values[-1]
    )


def test_labels_are_readable_where_they_can_be() -> None:
    assert Choice("x", (1, 2)).labels == (1, 2)
    assert Choice("x", ("a", None, True, 2.5)).labels == ("a", None, True, 2.5)
    assert Choice("x", (["class"], "b")).labels == ("['class']", "b")
    assert Choice("x", (1, 1.0, True)).labels == ("1", "1.0", "True")
    assert Choice("x", ([1], "[1]")).labels == ("[1]", "'[1]'")


@settings(deadline=None, max_examples=25)
@given(parameters("x"), st.integers(0, 1000))
def test_whatever_optuna_samples_is_a_value_of_the_space(parameter: Parameter, seed: int) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(5):
        trial = study.ask(distributions(SearchSpace((parameter,))))
        assert parameter.contains(parameter.value(trial.params["x"]))
