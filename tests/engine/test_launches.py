"""How many kernels a step starts: their number bounds its time where a GPU is faster than the host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sasrecf_tune.engine.fast.length_groups import Budget
from sasrecf_tune.engine.fused.model import FusedModel
from sasrecf_tune.engine.fused.trainer import EpochRequest, FusedTrainer
from sasrecf_tune.engine.rng import TrialRng
from tests.engine.test_device_waits import on_meta
from tests.support.recorded_device import META, RecordedDevice
from tests.support.synthetic_data import data, muted

__all__ = ["data", "muted"]

# As the default step of ml-100k: two layers, one column of tokens, dropout, one group of histories.
LIKE_ML_100K: dict[str, Any] = {
    "selected_features": ["tags"],
    "pooling_mode": "sum",
    "clip_grad_norm": None,
    "hidden_dropout_prob": 0.5,
    "attn_dropout_prob": 0.5,
    "train_batch_size": 1000,
}


def kernels_of_a_step(epoch: Callable[[], object]) -> Counter[str]:
    """The kernels of an epoch of one step, with what an epoch does once."""
    for _ in range(2):  # the first one allocates
        with RecordedDevice() as recorded:
            epoch()
    return recorded.kernels


def alone(data: Path) -> Counter[str]:
    built = on_meta(data, **LIKE_ML_100K)
    assert len(built.train) == 1
    return kernels_of_a_step(lambda: built.trainer._train_epoch(built.train, 0))


def fused(data: Path, trials: int) -> Counter[str]:
    made = [
        on_meta(data, seed=seed, learning_rate=0.001 * (1 + seed), **LIKE_ML_100K) for seed in range(trials)
    ]
    trainer = FusedTrainer([EpochRequest(one.trainer, one.train, TrialRng(META)) for one in made])
    return kernels_of_a_step(trainer.train_epoch)


def test_a_step_starts_few_kernels(data: Path) -> None:
    kernels = alone(data)
    assert kernels.total() <= 265, kernels


def test_fused_trials_start_hardly_more_kernels_than_one(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # More groups are made for more trials, because each position costs more then.
    monkeypatch.setattr(FusedModel, "_budget", lambda _: Budget(1 << 40, 1 << 40))
    one, few, many = alone(data).total(), fused(data, 2), fused(data, 16)
    assert few == many, many - few
    assert many.total() <= 1.3 * one, many
