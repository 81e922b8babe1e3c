"""SASRecF's two losses as sums over samples, so that groups of a batch can be added.

Source: recbole/model/loss.py (BPRLoss), torch.nn.CrossEntropyLoss.
"""

from __future__ import annotations

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


class _CrossEntropy(torch.autograd.Function):
    """Computes gradients with the loss, chunk by chunk, and never stores [samples, items]."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, items: Tensor, target: Tensor, rows: int) -> Tensor:
        loss = output.new_zeros(())
        grad_output, grad_items = torch.empty_like(output), torch.empty_like(items)
        # All chunks use the same memory: the system would fill new memory with zeros each time.
        scores, logs = (output.new_empty(min(rows, len(output)), len(items)) for _ in range(2))
        for low in range(0, len(output), rows):
            part, wanted = output[low : low + rows], target[low : low + rows, None]
            logits, grads = scores[: len(part)], logs[: len(part)]
            torch.mm(part, items.T, out=logits)
            torch.log_softmax(logits, -1, out=grads)
            loss -= grads.gather(1, wanted).sum()
            # d loss / d logits = softmax - one-hot
            grads.exp_()
            grads.scatter_add_(1, wanted, grads.new_full((len(part), 1), -1.0))
            torch.mm(grads, items, out=grad_output[low : low + rows])
            grad_items.addmm_(grads.T, part, beta=float(low > 0))  # 0: the old content is not read
        ctx.save_for_backward(grad_output, grad_items)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_output, grad_items = ctx.saved_tensors
        # In place, because nothing else uses them, and each pass over all items takes time.
        return grad_output.mul_(grads[0]), grad_items.mul_(grads[0]), None, None


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
    loss: Tensor = _CrossEntropy.apply(  # type: ignore[no-untyped-call]
        output, items, target, chunk_rows(len(items), output.device)
    )
    return loss


def bpr_sum(output: Tensor, positive: Tensor, negative: Tensor, gamma: float) -> Tensor:
    """Sum -log(gamma + sigmoid(difference of scores)) over samples; the tensors are [batch, hidden]."""
    difference = (output * positive).sum(-1) - (output * negative).sum(-1)
    return -torch.log(gamma + torch.sigmoid(difference)).sum()
