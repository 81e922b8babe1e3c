"""SASRecF's two losses (loss.py) for several trials, each trial's summed over its own samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sasrecf_tune.engine.fast.loss import chunk_rows


class _CrossEntropy(torch.autograd.Function):
    """As loss._CrossEntropy, chunks of `trials` x `rows` at a time."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, items: Tensor, target: Tensor, chunk: tuple[int, int]) -> Tensor:
        losses = output.new_zeros(len(output))
        grad_output, grad_items = torch.empty_like(output), torch.empty_like(items)
        trials, rows = chunk
        # The same memory for all chunks, as in loss.py.
        shape = trials, min(rows, output.shape[1]), items.shape[1]
        scores, logs = (output.new_empty(shape) for _ in range(2))
        for first in range(0, len(output), trials):
            some = slice(first, first + trials)
            for low in range(0, output.shape[1], rows):
                part, wanted = output[some, low : low + rows], target[some, low : low + rows, None]
                logits, grads = scores[:, : part.shape[1]], logs[:, : part.shape[1]]
                torch.bmm(part, items[some].transpose(1, 2), out=logits)
                torch.log_softmax(logits, -1, out=grads)
                losses[some] -= grads.gather(2, wanted).sum((1, 2))
                grads.exp_()
                grads.scatter_add_(2, wanted, grads.new_full(wanted.shape, -1.0))
                grad_output[some, low : low + rows] = torch.bmm(grads, items[some])
                grad_items[some].baddbmm_(grads.transpose(1, 2), part, beta=float(low > 0))
        ctx.save_for_backward(grad_output, grad_items)
        return losses

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_output, grad_items = ctx.saved_tensors
        scale = grads[0][:, None, None]
        return grad_output.mul_(scale), grad_items.mul_(scale), None, None


def cross_entropy_sums(output: Tensor, items: Tensor, target: Tensor) -> Tensor:
    """See loss.cross_entropy_sum; `output` [N, B, H], `items` [N, n, H], `target` [N, B]: [N]."""
    trials = len(output)
    # On a CPU one trial's chunk fills the cache already.
    together = 1 if output.device.type == "cpu" else trials
    losses: Tensor = _CrossEntropy.apply(  # type: ignore[no-untyped-call]
        output, items, target, (together, chunk_rows(items.shape[1] * together, output.device))
    )
    return losses


def bpr_sums(output: Tensor, positive: Tensor, negative: Tensor, gamma: float) -> Tensor:
    """See loss.bpr_sum; the tensors are [N, B, H]: [N]."""
    difference = (output * positive).sum(-1) - (output * negative).sum(-1)
    return -torch.log(gamma + torch.sigmoid(difference)).sum(-1)
