"""SASRecF's two losses as sums over samples, so that groups of a batch can be added.

Source: recbole/model/loss.py (BPRLoss), torch.nn.CrossEntropyLoss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# Elements of one chunk of logits: on a CPU 4 MiB, which fit in its cache; on a GPU 512 MiB.
_CPU_ELEMENTS = 1 << 20
_CUDA_ELEMENTS = 1 << 27
# Lower bound, because each chunk also updates the gradient of all items.
_LEAST_ROWS = 128


def chunk_rows(items: int, device: torch.device) -> int:
    """Return the number of rows of logits, [rows, items], that are computed at a time."""
    return max(_LEAST_ROWS, (_CUDA_ELEMENTS if device.type == "cuda" else _CPU_ELEMENTS) // items)


def cross_entropy_gradients(
    output: Tensor, items: Tensor, grad_items: Tensor, target: Tensor, scale: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Compute the cross-entropy over all items and its gradients, and never store [batch, items].

    Args:
        output: The model's outputs, [batch, hidden], or [trials, batch, hidden].
        items: The item embeddings, [items, hidden], or [trials, items, hidden].
        grad_items: The gradient with respect to `items` is added to it.
        target: The correct items, [batch], or [trials, batch].
        scale: What gradients are multiplied by.

    Returns:
        The sums over samples, [] or [trials], and the gradient with respect to `output`.
    """
    trials = math.prod(output.shape[:-2])
    rows = chunk_rows(trials * items.shape[-2], output.device)
    sums: list[Tensor] = []
    grad_output = torch.empty_like(output)
    # All chunks use the same memory: the system would fill new memory with zeros each time.
    memory = output.new_empty(trials * min(rows, output.shape[-2]) * items.shape[-2])
    for low in range(0, output.shape[-2], rows):
        part, wanted = output[..., low : low + rows, :], target[..., low : low + rows, None]
        shape = *part.shape[:-1], items.shape[-2]
        scores = memory[: math.prod(shape)].view(shape)
        torch.matmul(part, items.mT, out=scores)
        own = scores.gather(-1, wanted).sum((-2, -1))
        largest = scores.amax(-1)
        torch.softmax(scores, -1, out=scores)
        # log sum exp(s) = max(s) - log(max(softmax(s))): two cheap passes in place of another exponential.
        log_sums = (largest - scores.amax(-1).log_()).sum(-1)
        sums = [sums[0] - own + log_sums if sums else log_sums - own]
        # d loss / d logits = softmax - one-hot
        scores.scatter_(-1, wanted, -1.0, reduce="add")
        torch.matmul(scores, items, out=grad_output[..., low : low + rows, :])
        add_product = torch.addmm if scores.dim() == 2 else torch.baddbmm
        add_product(grad_items, scores.mT, part, alpha=scale, out=grad_items)
    return sums[0], grad_output.mul_(scale)


def sum_in_order(losses: Sequence[Tensor]) -> Tensor:
    """Add losses one after another."""
    return reduce(torch.add, losses)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, output: Tensor, items: Tensor, target: Tensor) -> Tensor:
        grad_items = torch.zeros_like(items)
        loss, grad_output = cross_entropy_gradients(output, items, grad_items, target)
        ctx.save_for_backward(grad_output, grad_items)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        grad_output, grad_items = ctx.saved_tensors
        return grad_output.mul_(grads[0]), grad_items.mul_(grads[0]), None


def cross_entropy_sum(output: Tensor, items: Tensor, target: Tensor) -> Tensor:
    """Sum the cross-entropy over samples.

    Args:
        output: The model's outputs, [batch, hidden].
        items: The item embeddings, [items, hidden].
        target: The correct items, [batch].
    """
    if not torch.is_grad_enabled():
        rows = chunk_rows(len(items), output.device)
        parts = zip(torch.split(output, rows), torch.split(target, rows), strict=True)
        return torch.stack(
            [functional.cross_entropy(o @ items.T, t, reduction="sum") for o, t in parts]
        ).sum()
    loss: Tensor = _CrossEntropy.apply(output, items, target)  # type: ignore[no-untyped-call]
    return loss


def bpr_sum(output: Tensor, positive: Tensor, negative: Tensor, gamma: float) -> Tensor:
    """Sum -log(gamma + sigmoid(difference of scores)) over samples; the tensors are [batch, hidden]."""
    difference = (output * positive).sum(-1) - (output * negative).sum(-1)
    return -torch.log(gamma + torch.sigmoid(difference)).sum()
