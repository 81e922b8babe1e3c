"""A step, and a batch of a validation, never waits for the device.

The device is torch's "meta": its tensors have shapes and no values, so that whoever reads one must ask here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from sasrecf_tune.engine.fast.build import FAST
from sasrecf_tune.engine.fused.trainer import EpochRequest, FusedTrainer
from sasrecf_tune.engine.recbole import Built, Prepared, build, make_config, prepare
from sasrecf_tune.engine.rng import TrialRng
from sasrecf_tune.training.prepared_cache import PreparedCache, data_key
from tests.support.synthetic_data import base, data, muted

__all__ = ["data", "muted"]

META = torch.device("meta")
PREPARED: PreparedCache[Prepared] = PreparedCache()
SETTINGS: dict[str, Any] = {
    "hidden_dropout_prob": 0.3,
    "attn_dropout_prob": 0.2,
    "clip_grad_norm": {"max_norm": 0.1},
    "metrics": ["Recall", "MRR", "NDCG"],  # RecBole's GAUC waits in each batch
    # For features of other kinds, and for their mean, RecBole's layer copies a few numbers at each step.
    "selected_features": ["tags"],
    "pooling_mode": "sum",
}


class WaitRecorder(TorchDispatchMode):
    """Notes what the host waits for: values that it reads from the device, and copies that are not queued."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), options: Any = None
    ) -> Any:
        options = options or {}
        given = [value for value in tree_flatten((arguments, options))[0] if isinstance(value, torch.Tensor)]
        name = function.overloadpacket.__name__
        there = any(value.device == META for value in given)
        here = any(value.device != META and value.dim() > 0 for value in given)
        if name == "_to_copy":
            to = options.get("device", META if there else torch.device("cpu"))
            if there and to != META:
                self.found.append("read")
                return torch.zeros(given[0].shape, dtype=options.get("dtype") or given[0].dtype)
            waits = here and to == META and not options.get("non_blocking")
        elif name == "_local_scalar_dense" and there:
            self.found.append("read")
            return 0
        else:
            waits = there and here  # torch moves indices to where what they index is
        if waits:
            self.found.append(f"{name} from the host")
        return function(*arguments, **options)


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
    recorder = WaitRecorder()
    with recorder:
        work()
    return recorder.found


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
