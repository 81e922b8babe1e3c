"""What is read of a trial is checked."""

from __future__ import annotations

from typing import Any

import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial

from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.search.strategies.distributions import distributions
from sasrecf_tune.search.trial_attributes import TrialReader, check_study_attributes
from sasrecf_tune.storage.database.errors import CorruptStudyError

SPACE = parse("n_layers choice [1, 2]\n")


@pytest.mark.parametrize(
    "attributes",
    [
        {"epochs": -1},
        {"epochs": "5"},
        {"threads": 10**6},
        {"seconds": float("inf")},
        {"valid": {"mrr@10": "x"}},
        {"valid": {"é\ud800": 0.1}},
        {"é\ud800": 1},
        {"failed_attempts": [1]},
    ],
)
def test_invalid_attributes_are_corruption(attributes: dict[str, Any]) -> None:
    trial = create_trial(
        state=TrialState.COMPLETE,
        value=0.1,
        params=SPACE.encode({"n_layers": 1}),
        distributions=distributions(SPACE),
        user_attrs=attributes,
    )
    with pytest.raises(CorruptStudyError, match="trial"):
        TrialReader(SPACE, "mrr@10").check(trial)


@pytest.mark.parametrize(
    "attributes",
    [
        {"sasrecf_tune:owner": 1},
        {"sasrecf_tune:valid_curve": {"mrr@10": "x"}},
        {"fixed_params": [1]},
        {"fixed_params": {"n_layers": 10**9}},
        {"fixed_params": {"n_layers": [1]}},
        {"fixed_params": {"other": 1}},
        {"completed_rung_0": "x"},
    ],
)
def test_invalid_system_attributes_are_corruption(attributes: dict[str, Any]) -> None:
    trial = create_trial(state=TrialState.WAITING, system_attrs=attributes)
    with pytest.raises(CorruptStudyError, match="trial"):
        TrialReader(SPACE, "mrr@10").check(trial)


@pytest.mark.parametrize(
    ("name", "distribution", "value"),
    [
        ("n_layers", CategoricalDistribution([1, 2, 3]), 3),
        ("n_layers", CategoricalDistribution([1, 2, 3]), 1),
        ("n_layers", IntDistribution(1, 2), 1),
        ("hidden_size", IntDistribution(8, 2**40, step=8), 2**40),
        ("learning_rate", FloatDistribution(1e-9, 1e9, log=True), 1e9),
        ("learning_rate", FloatDistribution(1e-3, 1e-1), 1e-2),
        ("other", IntDistribution(1, 2), 1),
    ],
)
def test_values_outside_the_space_are_corruption(
    name: str, distribution: BaseDistribution, value: Any
) -> None:
    space = parse("n_layers choice [1, 2]\nhidden_size quniform 8,64,8\nlearning_rate log 1e-3,1e-1\n")
    trial = create_trial(state=TrialState.RUNNING, params={name: value}, distributions={name: distribution})
    with pytest.raises(CorruptStudyError, match=f"'{name}' is"):
        TrialReader(space, "mrr@10").check(trial)


@pytest.mark.parametrize("value", ["x", -1, 10**12, 0.5, None, [1]])
def test_invalid_states_of_samplers_are_corruption(value: object) -> None:
    check_study_attributes({"qmc:abc": 5, "study:metric_names": ["MRR@10"]})
    with pytest.raises(CorruptStudyError, match="state of a sampler"):
        check_study_attributes({"qmc:abc": value})
