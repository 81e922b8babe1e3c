"""SASRecF's two losses (fast/loss.py) for several trials, each summed over its own samples."""

from __future__ import annotations

import torch
from torch import Tensor

from sasrecf_tune.engine.fast import loss


def cross_entropy_gradients(
    output: Tensor, items: Tensor, grad_items: Tensor, target: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Do `fast.loss.cross_entropy_gradients` of each trial; on a CPU one after another."""
    if output.device.type != "cpu":
        return loss.cross_entropy_gradients(output, items, grad_items, target, scale)
    # A chunk of one trial fills the cache.
    each = zip(output, items, grad_items, target, strict=True)
    found = [loss.cross_entropy_gradients(*one, scale) for one in each]
    return torch.stack([sums for sums, _ in found]), torch.stack([grad for _, grad in found])


def bpr_sums(output: Tensor, positive: Tensor, negative: Tensor, gamma: float) -> Tensor:
    """Sum -log(gamma + sigmoid(difference)) of scores; the inputs are [trials, batch, hidden]."""
    difference = (output * positive).sum(-1) - (output * negative).sum(-1)
    return -torch.log(gamma + torch.sigmoid(difference)).sum(-1)
