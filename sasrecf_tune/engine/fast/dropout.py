"""Dropout with the exact probability, from random bytes instead of one random number per element.

torch's CPU dropout draws one 32-bit number per element on one thread, which takes a sixth of a SASRecF step.
Here a byte decides all but one element in 256. Another draw decides those, so that elements are independent
and are dropped with the given probability, not with the nearest multiple of 1/256.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


class _Masked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, keep: Tensor) -> Tensor:
        ctx.save_for_backward(keep)
        return x * keep

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grads[0] * keep, None


def cpu_keep_mask(shape: torch.Size, p: float) -> Tensor:
    """Draw a mask that is True with probability 1 - `p`, from torch's global CPU generator."""
    if p >= 1:
        return torch.zeros(shape, dtype=torch.bool)
    size = math.prod(shape)
    words = torch.empty((size + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    draw = words.view(torch.uint8)[:size].view(shape)
    level = math.floor(p * 256)
    remainder = p * 256 - level
    keep = draw >= level
    if remainder > 0:
        ties = (draw == level).view(-1).nonzero().squeeze(-1)
        keep.view(-1)[ties] = torch.rand(len(ties), dtype=torch.float64) >= remainder
    return keep


def draw_keep_mask(shape: torch.Size, p: float, device: torch.device) -> Tensor:
    """Draw the mask that `drop_unscaled` uses for a tensor of this shape and device; `p` is positive."""
    if p >= 1 or device.type == "cpu":
        return cpu_keep_mask(shape, p).to(device, non_blocking=True)
    # The kernel behind functional.dropout. Only its mask is used, so the input needs no values.
    keep: Tensor
    _, keep = torch.native_dropout(torch.empty(shape, device=device), p, True)
    return keep


def apply_mask(x: Tensor, keep: Tensor | None) -> Tensor:
    """Return `x` with zeros where `keep` is False; None keeps all elements."""
    if keep is None:
        return x
    result: Tensor = _Masked.apply(x, keep)  # type: ignore[no-untyped-call]
    return result


def keep_scale(p: float) -> float:
    """Return the factor 1 / (1 - p) that `drop_unscaled` leaves out; 0 for p = 1, as in torch."""
    return 1.0 / (1.0 - p) if p < 1 else 0.0


def drop_unscaled(x: Tensor, p: float) -> Tensor:
    """Zero elements of `x` with probability `p` without scaling: callers scale a weight by `keep_scale`."""
    if p == 0:
        return x
    if x.device.type != "cpu":
        return functional.dropout(x, p) * (1.0 - p)
    return apply_mask(x, cpu_keep_mask(x.shape, p))


def dropout(x: Tensor, p: float) -> Tensor:
    """Apply torch.nn.functional.dropout in training, but faster on a CPU."""
    if p == 0:
        return x
    return functional.dropout(x, p) if x.device.type != "cpu" else drop_unscaled(x, p) * keep_scale(p)
