"""The fast engine: its data set, model and trainer, and when it can be used."""

from __future__ import annotations

from typing import Any

from sasrecf_tune.engine.fast.dataset import CompactDataset
from sasrecf_tune.engine.fast.model import fast_model
from sasrecf_tune.engine.fast.trainer import FastTrainer
from sasrecf_tune.engine.recbole import Engine


def unsupported_reason(config: Any) -> str:
    """Return why RecBole's own trainer must train `config`; "" if the fast engine can."""
    if config["benchmark_filename"]:
        return "ready-made splits (benchmark_filename) have their own histories"
    if config["enable_amp"] or config["enable_scaler"]:
        return "mixed precision (enable_amp, enable_scaler) is not supported"
    return ""


FAST = Engine("fast", CompactDataset, fast_model, FastTrainer)
