"""What a training came to."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sasrecf_tune.engine.recbole import Built
from sasrecf_tune.messages import Result


@dataclass(frozen=True)
class Trained:
    """A trained model: its metrics, its weights on the CPU, and its trainer with the same weights."""

    result: Result
    weights: dict[str, torch.Tensor]
    built: Built


def parameter_count(model: torch.nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
