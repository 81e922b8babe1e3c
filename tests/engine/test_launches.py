"""How many kernels a step starts: their number bounds its time where a GPU is faster than the host."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from sasrecf_tune.engine.fast import dropout
from sasrecf_tune.engine.fast.length_groups import Budget
from sasrecf_tune.engine.fast.mask_blocks import Block, Rates
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


def one_kernel(
    blocks: Sequence[Block], rows: torch.Tensor, keys: torch.Tensor, rates: Rates
) -> list[torch.Tensor]:
    """What counts as the Triton kernel: it makes one tensor, of which the masks are views."""
    shapes = [block.shape(len(rows) // keys.shape[-1]) for block in blocks]
    sizes = [math.prod(shape) for shape in shapes]
    parts = torch.split(rows.new_zeros(sum(sizes), dtype=torch.float32), sizes)
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


@pytest.fixture(params=["as with Triton", "without Triton"])
def triton(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether masks count as one kernel, as on a CUDA device, or as operators of torch."""
    with_triton: bool = request.param == "as with Triton"
    if with_triton:
        monkeypatch.setattr(dropout, "draw_with_torch", one_kernel)
    return with_triton


def test_a_step_starts_few_kernels(data: Path, triton: bool) -> None:
    kernels = alone(data)
    assert kernels.total() <= (168 if triton else 191), kernels


def test_fused_trials_start_hardly_more_kernels_than_one(
    data: Path, triton: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More groups are made for more trials, because each position costs more then.
    monkeypatch.setattr(FusedModel, "_budget", lambda _: Budget(1 << 40, 1 << 40))
    one, few, many = alone(data).total(), fused(data, 2), fused(data, 16)
    assert few == many, many - few
    assert many.total() <= 1.3 * one, many
