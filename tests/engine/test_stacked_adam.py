"""One Adam for all fused trials against each trial's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sasrecf_tune.engine.fused.optimizer import can_stack
from sasrecf_tune.engine.fused.trainer import EpochRequest, FusedTrainer
from sasrecf_tune.engine.recbole import Built
from sasrecf_tune.engine.rng import TrialRng
from sasrecf_tune.training.checkpoint import capture
from tests.engine.test_batches import CPU, trial
from tests.support.synthetic_data import data, muted

__all__ = ["data", "muted"]

OWN: list[dict[str, Any]] = [
    {"learning_rate": 0.01, "weight_decay": 0.01},
    {"learning_rate": 0.003, "learner": "adamw", "weight_decay": 0.1},
    {"learning_rate": 0.001, "clip_grad_norm": {"max_norm": 0.1}},
]


def alone(built: Built) -> float:
    loss: float = built.trainer._train_epoch(built.train, 0)
    return loss


def fused(trials: list[Built]) -> FusedTrainer:
    return FusedTrainer([EpochRequest(each.trainer, each.train, TrialRng(CPU)) for each in trials])


def test_fused_trials_are_updated_as_alone_whenever_they_join_and_leave(data: Path) -> None:
    ours, theirs = ([trial(data, **own, seed=seed) for seed, own in enumerate(OWN)] for _ in range(2))
    assert can_stack([each.trainer.optimizer for each in ours])
    losses = [[alone(each) for each in theirs] for _ in range(4)]
    together = fused([ours[0], ours[2]]).train_epoch()
    assert [together[0], alone(ours[1]), together[1]] == pytest.approx(losses[0], rel=1e-6)
    trainer = fused(ours)
    for epoch in (1, 2):
        assert trainer.train_epoch() == pytest.approx(losses[epoch], rel=1e-6)
    states = [capture_optimizer(each) for each in ours]
    assert [alone(each) for each in ours] == pytest.approx(losses[3], rel=1e-6)
    for state, other in zip(states, theirs, strict=True):
        expected = other.trainer.optimizer.state_dict()["state"]
        assert state.keys() == expected.keys()
        for number, values in state.items():
            assert values["step"] * 4 == expected[number]["step"] * 3
            # A saved trial does not hold the others' numbers.
            assert all(each.untyped_storage().nbytes() == 4 * each.numel() for each in values.values())


def test_a_weight_decay_of_1_counts(data: Path) -> None:
    ours, theirs = ([trial(data, weight_decay=1.0, seed=seed) for seed in range(2)] for _ in range(2))
    fused(ours).train_epoch()
    for one, other in zip(ours, theirs, strict=True):
        alone(other)
        expected = dict(other.trainer.model.named_parameters())
        for name, weight in one.trainer.model.named_parameters():
            torch.testing.assert_close(weight, expected[name], rtol=1e-3, atol=1e-4)


def test_options_of_older_versions_of_torch_are_enough(data: Path) -> None:
    ours, theirs = ([trial(data, **own) for own in OWN[:2]] for _ in range(2))
    for each in ours:
        each.trainer.optimizer.param_groups[0].pop("decoupled_weight_decay", None)
    trainer = fused(ours)
    for _ in range(2):
        assert trainer.train_epoch() == pytest.approx([alone(each) for each in theirs], rel=1e-6)


def capture_optimizer(built: Built) -> dict[int, dict[str, torch.Tensor]]:
    built.trainer.best_state, built.trainer.best_epoch = {}, 0  # of no validation
    state: dict[int, dict[str, torch.Tensor]] = capture(built)["optimizer"]["state"]
    return state


@pytest.mark.parametrize("learner", ["sgd", "adagrad", "rmsprop"])
def test_other_optimisers_are_not_stacked(data: Path, learner: str) -> None:
    trials = [trial(data), trial(data, learner=learner)]
    assert not can_stack([each.trainer.optimizer for each in trials])
