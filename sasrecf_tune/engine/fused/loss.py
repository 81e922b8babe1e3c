"""SASRecF's two losses (fast/loss.py) for several trials, each summed over its own samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sasrecf_tune.engine.fast.loss import chunk_rows


class _CrossEntropy(torch.autograd.Function):
    """The same as fast.loss._CrossEntropy, in chunks of `trials` x `rows`."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, items: Tensor, target: Tensor, chunk: tuple[int, int]) -> Tensor:
        losses = output.new_zeros(len(output))
        grad_output, grad_items = torch.empty_like(output), torch.empty_like(items)
        trials, rows = chunk
        # All chunks use the same memory, as in fast/loss.py.
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
    """Sum the cross-entropy over the samples of each trial.

    Args:
        output: The models' outputs, [trials, batch, hidden].
        items: The item embeddings, [trials, items, hidden].
        target: The correct items, [trials, batch].

    Returns:
        [trials].
    """
    trials = len(output)
    # On a CPU the chunk of one trial fills the cache.
    at_once = 1 if output.device.type == "cpu" else trials
    losses: Tensor = _CrossEntropy.apply(  # type: ignore[no-untyped-call]
        output, items, target, (at_once, chunk_rows(items.shape[1] * at_once, output.device))
    )
    return losses


def bpr_sums(output: Tensor, positive: Tensor, negative: Tensor, gamma: float) -> Tensor:
    """Sum -log(gamma + sigmoid(difference)) of scores; the inputs are [trials, batch, hidden]."""
    difference = (output * positive).sum(-1) - (output * negative).sum(-1)
    return -torch.log(gamma + torch.sigmoid(difference)).sum(-1)
