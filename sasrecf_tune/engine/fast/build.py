"""What a worker calls: the data, the model and the trainer of the fast engine."""

from __future__ import annotations

from typing import Any

import torch

from sasrecf_tune.engine.fast.dataset import CompactDataset
from sasrecf_tune.engine.fast.model import fast_model
from sasrecf_tune.engine.fast.trainer import FastTrainer
from sasrecf_tune.engine.recbole import Engine

# Users x items whose scores are computed at a time: 8 MiB of them on a CPU, whose cache holds them.
_CPU_SCORES = 1 << 21
_CUDA_SCORES = 1 << 27


def uncovered(config: Any) -> str:
    """Why RecBole's own trainer must train `config`, "" when the fast engine can."""
    if config["benchmark_filename"]:
        return "ready-made splits (benchmark_filename) hold their own histories"
    if config["transform"]:
        return "transform changes the histories"
    if config["enable_amp"] or config["enable_scaler"]:
        return "mixed precision (enable_amp, enable_scaler) is RecBole's"
    return ""


def limit_evaluation(config: Any, items: int) -> None:
    """Lower eval_batch_size, which has no effect on results, so that scores [users, items] stay bounded.

    Only where all items are ranked: with sampled ones (uni100) it counts pairs, not users.
    """
    if set(config["eval_args"]["mode"].values()) != {"full"}:
        return
    most = most_users(items, config["device"])
    config["eval_batch_size"] = max(1, min(int(config["eval_batch_size"]), most))


def most_users(items: int, device: torch.device) -> int:
    """Users whose scores of all items are computed at a time."""
    return max(1, (_CUDA_SCORES if device.type == "cuda" else _CPU_SCORES) // items)


FAST = Engine("fast", CompactDataset, fast_model, FastTrainer, adjust=limit_evaluation)
