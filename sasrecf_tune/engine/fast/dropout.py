"""Dropout of the exact probability, from random bytes in place of one random number an element.

torch's CPU dropout draws one 32-bit number an element on one thread, which is a sixth of a SASRecF
step. A byte decides all but one element in 256; the rest are settled by a further draw, so that
elements are independent and dropped with the probability asked for, not with its nearest 256th.
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


def keep_mask(shape: torch.Size, p: float) -> Tensor:
    """True with probability 1 - `p` for each element, independently, from torch's global CPU generator."""
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


def kept(shape: torch.Size, p: float, device: torch.device) -> Tensor:
    """What `mask` keeps of a tensor of this shape on this device, drawn as it draws; `p` is above 0."""
    if p >= 1 or device.type == "cpu":
        return keep_mask(shape, p).to(device, non_blocking=True)
    # The kernel behind functional.dropout, of no values: its mask alone is used.
    keep: Tensor
    _, keep = torch.native_dropout(torch.empty(shape, device=device), p, True)
    return keep


def masked(x: Tensor, keep: Tensor | None) -> Tensor:
    """`x` with zeros where `keep` is false; None keeps all."""
    if keep is None:
        return x
    result: Tensor = _Masked.apply(x, keep)  # type: ignore[no-untyped-call]
    return result


def inverse_keep(p: float) -> float:
    """What `mask` leaves to the caller: the factor 1 / (1 - p), 0 where nothing is kept (as torch)."""
    return 1.0 / (1.0 - p) if p < 1 else 0.0


def mask(x: Tensor, p: float) -> Tensor:
    """`x` with elements zeroed at rate `p` but NOT scaled: callers scale a small weight by `inverse_keep`."""
    if p == 0:
        return x
    if x.device.type != "cpu":
        return functional.dropout(x, p) * (1.0 - p)
    return masked(x, keep_mask(x.shape, p))


def dropout(x: Tensor, p: float) -> Tensor:
    """torch.nn.functional.dropout in training, faster on a CPU."""
    if p == 0:
        return x
    return functional.dropout(x, p) if x.device.type != "cpu" else mask(x, p) * inverse_keep(p)
