"""What a training came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from sasrecf_tune.engine.recbole import Built
from sasrecf_tune.messages import Result

# Those of a model by their names, on the CPU.
Weights = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Trained:
    """A trained model: its metrics, its weights on the CPU, and its trainer with the same weights."""

    result: Result
    weights: Weights
    built: Built
