"""The first trials of the default sampler: spread over the space, for any number of workers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.search.strategies.candidates import Candidates
from sasrecf_tune.search.strategies.distributions import distributions
from sasrecf_tune.search.strategies.first_trials import FIRST_TRIALS, FirstTrials
from sasrecf_tune.search.strategies.parameter_vectors import Embedding
from tests.support.bench import Bench, bench
from tests.support.fake_training import FakeTraining
from tests.support.paths import ROOT
from tests.support.strategies import spaces

GRID = (ROOT / "search_spaces" / "sasrecf.test").read_text()
FULL = (ROOT / "search_spaces" / "full.test").read_text()
MIXED = "n_layers choice [1, 2, 3]\nlearning_rate log 1e-5,1e-1\nhidden_act choice ['gelu', 'relu', 'tanh']\n"
CONTINUOUS = (
    "hidden_dropout_prob uniform 0,0.8\nlearning_rate loguniform -11.5,-2.3\nweight_decay uniform 0,1\n"
)


def asked(run: Bench, count: int) -> list[dict[str, Any]]:
    """The parameters of `count` trials, all asked for before any has a score."""
    space, known = run.plan.space, distributions(run.plan.space)
    trials = [run.study.ask(known, lambda _: {}) for _ in range(count)]
    return [space.decode(trial.params) for trial in trials if trial is not None]


def quality(config: Mapping[str, Any]) -> float:
    return 0.3 - 0.05 * abs(math.log10(config["learning_rate"] / 0.004))


@pytest.mark.parametrize("text", [GRID, FULL, MIXED, CONTINUOUS])
def test_parallel_workers_start_with_learning_rates_from_the_whole_range(tmp_path: Path, text: str) -> None:
    for workers in (2, 4, 5):
        with bench(tmp_path / str(workers), text, FakeTraining(quality)) as run:
            rates = sorted(math.log(params["learning_rate"]) for params in asked(run, workers))
            parameter: Any = run.plan.space["learning_rate"]
        ends = parameter.bounds if parameter.size is None else parameter.values
        span = math.log(max(ends)) - math.log(min(ends))
        gaps = [(after - before) / span for before, after in pairwise(rates)]
        assert min(gaps) > 0.05, rates
        assert workers == 2 or rates[-1] - rates[0] > 0.4 * span, rates


@pytest.mark.parametrize("text", [GRID, MIXED, CONTINUOUS])
def test_the_first_trials_are_the_same_for_one_worker_and_for_several(tmp_path: Path, text: str) -> None:
    with bench(tmp_path / "several", text, FakeTraining(quality)) as run:
        several = asked(run, FIRST_TRIALS)
    with bench(tmp_path / "one", text, FakeTraining(quality), trials=FIRST_TRIALS) as run:
        run.search.run()
        one = [record.params for record in run.records()]
    assert one == several


def test_every_value_of_a_short_list_is_among_the_first_trials(tmp_path: Path) -> None:
    with bench(tmp_path, MIXED, FakeTraining(quality)) as run:
        params = asked(run, FIRST_TRIALS)
    assert {p["n_layers"] for p in params} == {1, 2, 3}
    assert {p["hidden_act"] for p in params} == {"gelu", "relu", "tanh"}


def test_values_of_an_infinite_range_are_not_its_bounds(tmp_path: Path) -> None:
    with bench(tmp_path, CONTINUOUS, FakeTraining(quality)) as run:
        rates = [math.log10(params["learning_rate"]) for params in asked(run, FIRST_TRIALS)]
    assert min(rates) > -4.9 and max(rates) < -1.1


def test_the_first_trials_satisfy_constraints(tmp_path: Path) -> None:
    text = "hidden_size choice [30, 64]\nn_heads choice [2, 3, 4]\nlearning_rate choice [0.01, 0.001]\n"
    with bench(tmp_path, text, FakeTraining(quality)) as run:
        params = asked(run, 6)
    assert all(p["hidden_size"] % p["n_heads"] == 0 for p in params)
    assert len({tuple(p.values()) for p in params}) == 6


@given(spaces(), st.integers(0, 5))
def test_any_space_has_first_trials(space: SearchSpace, seed: int) -> None:
    candidates = Candidates(distributions(space), lambda _: True, None).draw(Random(seed), [])[:20]
    first = FirstTrials(space, Embedding(space), space.decode(candidates[0]))
    earlier = [first.next([], candidates)]
    earlier.append(first.next(earlier, candidates))
    assert all(labels in candidates for labels in earlier)


def test_equal_numbers_of_different_types_are_categories() -> None:
    space = parse("weight_decay choice [0, 0.0]\n")
    first = FirstTrials(space, Embedding(space), {"weight_decay": 0})
    cells = [space.encode({"weight_decay": value}) for value in (0, 0.0)]
    assert first.next([cells[0]], cells) == cells[1]
