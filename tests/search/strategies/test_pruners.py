"""All pruners, in searches with fake training."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from sasrecf_tune.inputs.settings import Pruner
from sasrecf_tune.search.strategies.pruners import make_pruner, plan_pruner
from sasrecf_tune.trials import State, rank
from tests.support.bench import GRID, bench, quality
from tests.support.fake_training import FakeTraining


@pytest.mark.parametrize(
    ("pruner", "warm"), [("median", 4), ("percentile", 4), ("halving", 4), ("hyperband", 4)]
)
def test_no_pruner_stops_a_trial_during_the_warm_up(tmp_path: Path, pruner: Pruner, warm: int) -> None:
    epochs = 20
    with bench(tmp_path, GRID, FakeTraining(quality, epochs), pruner=pruner) as run:
        run.search.run()
        records = run.records()
    pruned = [record for record in records if record.state == State.PRUNED]
    assert all(record.epochs >= warm for record in records)
    assert pruned and all(record.epochs < epochs for record in pruned)
    best = rank(records, True)[0].record
    assert best.params["learning_rate"] == 0.1


def test_pruning_is_on_by_default() -> None:
    assert plan_pruner("auto", 300).name == "median"
    assert plan_pruner("auto", 300).arguments["n_warmup_steps"] == 10


def test_trials_that_may_pause_are_not_pruned_by_default() -> None:
    assert plan_pruner("auto", 300, "freeze-thaw").name == "none"
    assert plan_pruner("median", 300, "freeze-thaw").name == "median"


@pytest.mark.parametrize("name", ["auto", "median", "percentile", "halving", "hyperband"])
def test_the_plan_has_no_pruner_if_trials_are_too_short_for_it(name: Pruner) -> None:
    for epochs in (1, 2, 3, 4, 12):
        plan = plan_pruner(name, epochs)
        assert (plan.name == "none") == (epochs <= 2)
        assert (f"trials of {epochs} epoch" in str(plan)) == (plan.name == "none")


@pytest.mark.parametrize("name", get_args(Pruner))
def test_every_pruner_describes_itself(name: str) -> None:
    plan = plan_pruner(name, 10)
    assert str(plan).startswith(f"{plan.name}: ")
    make_pruner(plan)
