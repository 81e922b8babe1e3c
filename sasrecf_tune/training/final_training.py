"""Trains a model for a fixed number of epochs, without a validation."""

from __future__ import annotations

from collections.abc import Callable

import torch

from sasrecf_tune.engine.recbole import Built
from sasrecf_tune.engine.recording_trainer import NOT_A_NUMBER


def train_all_epochs(built: Built, on_epoch: Callable[[int, float], None]) -> dict[str, torch.Tensor]:
    """Train all epochs and return the weights, on the CPU.

    Args:
        on_epoch: Called after each epoch with its number, from 1, and its training loss.

    Raises:
        ValueError: The loss or a weight is not finite.

    Source: recbole/trainer/trainer.py (fit).
    """
    trainer = built.trainer
    trainer.eval_collector.data_collect(built.train)
    for epoch in range(trainer.epochs):
        loss = trainer._train_epoch(built.train, epoch)
        on_epoch(epoch + 1, float(loss))
    weights = {name: value.detach().to("cpu") for name, value in trainer.model.state_dict().items()}
    if not all(value.isfinite().all() for value in weights.values()):
        raise ValueError(NOT_A_NUMBER)
    return weights
