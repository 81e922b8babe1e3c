"""What is read of a trial is checked."""

from __future__ import annotations

from typing import Any

import pytest
from optuna.trial import TrialState, create_trial

from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.search.strategies.distributions import distributions
from sasrecf_tune.search.trial_attributes import TrialReader
from sasrecf_tune.storage.database.errors import CorruptStudyError

SPACE = parse("n_layers choice [1, 2]\n")


@pytest.mark.parametrize(
    "attributes",
    [
        {"epochs": -1},
        {"epochs": "5"},
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
