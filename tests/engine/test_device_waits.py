"""A step, and a batch of a validation, never waits for the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sasrecf_tune.engine.fast.build import FAST
from sasrecf_tune.engine.fused.trainer import EpochRequest, FusedTrainer
from sasrecf_tune.engine.recbole import Built, Prepared, build, make_config, prepare
from sasrecf_tune.engine.rng import TrialRng
from sasrecf_tune.training.prepared_cache import PreparedCache, data_key
from tests.support.recorded_device import META, RecordedDevice
from tests.support.synthetic_data import base, data, muted

__all__ = ["data", "muted"]

PREPARED: PreparedCache[Prepared] = PreparedCache()
SETTINGS: dict[str, Any] = {
    "hidden_dropout_prob": 0.3,
    "attn_dropout_prob": 0.2,
    "clip_grad_norm": {"max_norm": 0.1},
    "metrics": ["Recall", "MRR", "NDCG"],  # RecBole's GAUC waits in each batch
    "selected_features": ["colour", "tags", "price"],
    "pooling_mode": "mean",
}


class Batches:
    """The first batches of a loader, and what else is asked of it."""

    def __init__(self, samples: Any, count: int) -> None:
        self._samples, self._dataset = samples, samples._dataset
        self.batches = [batch for batch, _ in zip(samples, range(count), strict=False)]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


def on_meta(data: Path, **changes: Any) -> Built:
    config = make_config(base(data) | SETTINGS | changes)
    key = data_key(dict(config.final_config_dict))
    built = build(config, PREPARED.get(key, lambda: prepare(config, FAST)), FAST)
    built.trainer.model.to(META)
    if (features := getattr(built.trainer.model, "feature_embed_layer", None)) is not None:
        features.device, features.item_feat = META, features.item_feat.to(META)
    built.trainer.device = built.trainer.eval_collector.device = config["device"] = META
    # Not the one kernel for all weights, which torch has for real devices alone.
    weights = built.trainer.model.parameters()
    built.trainer.optimizer = torch.optim.Adam(weights, lr=0.001, weight_decay=0.01, foreach=True)
    return built


def alone(data: Path, steps: int, **changes: Any) -> Callable[[], object]:
    built = on_meta(data, **changes)
    batches = Batches(built.train, steps)
    return lambda: built.trainer._train_epoch(batches, 0)


def fused(data: Path, steps: int, **changes: Any) -> Callable[[], object]:
    made = [on_meta(data, seed=seed, n_heads=1 + seed // 2, **changes) for seed in range(3)]
    return FusedTrainer(
        [EpochRequest(one.trainer, Batches(one.train, steps), TrialRng(META)) for one in made]
    ).train_epoch


def waits(work: Callable[[], object]) -> list[str]:
    with RecordedDevice() as recorded:
        work()
    return recorded.waits


@pytest.mark.parametrize("loss_type", ["CE", "BPR"])
@pytest.mark.parametrize("make", [alone, fused])
def test_a_training_step_does_not_wait(
    data: Path, make: Callable[..., Callable[[], object]], loss_type: str
) -> None:
    changes: dict[str, Any] = {"loss_type": loss_type}
    if loss_type == "BPR":
        changes["train_neg_sample_args"] = {"distribution": "uniform", "sample_num": 1}
    few, more = (waits(make(data, steps, **changes)) for steps in (1, 3))
    assert few == more and few


def whole_epoch_alone(data: Path, **changes: Any) -> Callable[[], object]:
    built = on_meta(data, **changes)
    return lambda: built.trainer._train_epoch(built.train, 0)


def whole_epoch_fused(data: Path, **changes: Any) -> Callable[[], object]:
    made = [on_meta(data, seed=seed, n_heads=1 + seed // 2, **changes) for seed in range(3)]
    return FusedTrainer([EpochRequest(one.trainer, one.train, TrialRng(META)) for one in made]).train_epoch


@pytest.mark.parametrize("pooling", ["mean", "sum", "max"])
@pytest.mark.parametrize("make", [whole_epoch_alone, whole_epoch_fused])
def test_an_epoch_waits_once_for_its_losses(
    data: Path, make: Callable[..., Callable[[], object]], pooling: str
) -> None:
    assert waits(make(data, pooling_mode=pooling)) == ["read"]


def alone_validated(data: Path, users: int) -> Callable[[], object]:
    built = on_meta(data, eval_batch_size=users)
    return lambda: built.trainer.evaluate(built.valid, load_best_model=False)


def validated_together(data: Path, users: int) -> Callable[[], object]:
    made = [on_meta(data, seed=seed, eval_batch_size=users) for seed in range(3)]
    trials = [
        EpochRequest(one.trainer, one.train, TrialRng(META), validation_samples=one.valid) for one in made
    ]
    trainer = FusedTrainer(trials)
    return lambda: trainer.evaluate(range(3))


@pytest.mark.parametrize("make", [alone_validated, validated_together])
def test_a_validation_batch_does_not_wait(data: Path, make: Callable[..., Callable[[], object]]) -> None:
    one_batch, six = (waits(make(data, users)) for users in (30, 5))
    assert one_batch == six and six
