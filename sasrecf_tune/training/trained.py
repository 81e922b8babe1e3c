"""What a training came to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch

from sasrecf_tune.engine.recbole import Built
from sasrecf_tune.messages import Result

# Those of a model by their names, on the CPU.
Weights = Mapping[str, torch.Tensor]


class Trained(NamedTuple):
    """A trained model: its metrics, its weights on the CPU, and its trainer with the same weights."""

    result: Result
    weights: Weights
    built: Built


def parameter_count(model: torch.nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
