"""The fast engine: its data set, model and trainer, and when it can be used."""

from __future__ import annotations

from typing import Any

import torch

from sasrecf_tune.engine.fast.dataset import CompactDataset
from sasrecf_tune.engine.fast.model import fast_model
from sasrecf_tune.engine.fast.trainer import FastTrainer
from sasrecf_tune.engine.recbole import Engine

# Scores (users x items) that are computed at a time: on a CPU 8 MiB, which fit in its cache.
_CPU_SCORES = 1 << 21
_CUDA_SCORES = 1 << 27


def unsupported_reason(config: Any) -> str:
    """Return why RecBole's own trainer must train `config`; "" if the fast engine can."""
    if config["benchmark_filename"]:
        return "ready-made splits (benchmark_filename) have their own histories"
    if config["enable_amp"] or config["enable_scaler"]:
        return "mixed precision (enable_amp, enable_scaler) is not supported"
    return ""


def limit_eval_batch_size(config: Any, items: int) -> None:
    """Lower eval_batch_size to bound the memory of scores, [users, items]; results do not change.

    This applies only if all items are ranked: for sampled items (uni100) the batch size counts pairs.
    """
    if set(config["eval_args"]["mode"].values()) != {"full"}:
        return
    most = users_per_chunk(items, config["device"])
    config["eval_batch_size"] = max(1, min(int(config["eval_batch_size"]), most))


def users_per_chunk(items: int, device: torch.device) -> int:
    """Return the number of users whose scores of all items are computed at a time."""
    return max(1, (_CUDA_SCORES if device.type == "cuda" else _CPU_SCORES) // items)


FAST = Engine("fast", CompactDataset, fast_model, FastTrainer, adjust=limit_eval_batch_size)
