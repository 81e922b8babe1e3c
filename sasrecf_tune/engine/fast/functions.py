"""Operations whose backward passes are written out: they copy less and keep less than torch's own.

They serve one model (attention.py) and several fused ones, whose samples are one axis here. Masks
(dropout.py) are not scaled. A backward pass overwrites what nothing else reads, so it can run once. Masks are
not saved by autograd: they are parts of one tensor, and it would take a change of one for a change of all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sasrecf_tune.engine.fast.length_groups import numbers


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.shape = table.shape
        return functional.embedding(places, table)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        grad = grads[0].reshape(-1, ctx.shape[1])
        return grad.new_zeros(ctx.shape).index_add_(0, places.reshape(-1), grad), None


def take_rows(table: Tensor, places: Tensor) -> Tensor:
    """Return the rows of `table`, [rows, hidden], at `places`, as `functional.embedding` does."""
    # On a CPU this gradient takes a third of the time of torch's own; on a GPU its order of sums is random.
    if table.device.type != "cpu" or not table.requires_grad:
        return functional.embedding(places, table)
    taken: Tensor = _Rows.apply(table, places)  # type: ignore[no-untyped-call]
    return taken


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, factors: list[float], divided: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.factors, ctx.divided = factors, divided
        return _scale(factors, divided, tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, *tuple[Tensor, ...]]:
        return None, None, *_scale(ctx.factors, ctx.divided, grads)


def _scale(factors: list[float], divided: int, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    quotients = torch._foreach_div(tensors[:divided], factors[:divided])
    return *quotients, *torch._foreach_mul(tensors[divided:], factors[divided:])


def scaled(divisors: Sequence[tuple[Tensor, float]], factors: Sequence[tuple[Tensor, float]]) -> list[Tensor]:
    """Return tensors divided by numbers, and tensors multiplied by numbers, in one operation each."""
    tensors, values = zip(*divisors, *factors, strict=True)
    found: tuple[Tensor, ...] = _Scaled.apply(list(values), len(divisors), *tensors)  # type: ignore[no-untyped-call]
    return list(found)


class _AddKept(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, keep: Tensor) -> Tensor:
        ctx.keep = keep
        # Not marked: `y` may be a view of a product, whose backward pass does not read it.
        return torch.addcmul(x, y, keep, out=y.detach())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        return grads[0], ctx.keep.mul_(grads[0]), None


def add_kept_(x: Tensor, y: Tensor, keep: Tensor | None) -> Tensor:
    """Return `x` plus what `keep` keeps of `y`, a product, which may be overwritten; None keeps all."""
    if keep is None:
        return x + y
    result: Tensor = _AddKept.apply(x, y, keep)  # type: ignore[no-untyped-call]
    return result


class _Kept(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: Tensor) -> Tensor:
        ctx.keep = keep
        ctx.mark_dirty(x)
        return x.mul_(keep)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.keep.mul_(grads[0]), None


def kept_(x: Tensor, keep: Tensor | None) -> Tensor:
    """Return what `keep` keeps of `x`, which is overwritten; None keeps all."""
    if keep is None:
        return x
    result: Tensor = _Kept.apply(x, keep)  # type: ignore[no-untyped-call]
    return result


class _CausalAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, projected: Tensor, heads: int, keep: Tensor | None) -> Tensor:
        batch, longest, thrice = projected.shape
        size = thrice // 3 // heads
        queries, keys, values = _by_head(projected, heads, 3)
        weights = projected.new_empty(heads, batch, longest, longest)
        parts = weights.view(len(queries), -1, longest, longest)
        future = _future(longest, projected.dtype, projected.device)
        for query, key, part in zip(queries, keys, parts, strict=True):
            torch.baddbmm(future, query, key.transpose(1, 2), out=part)
        torch.softmax(weights, -1, out=weights)
        kept = parts if keep is None else (weights * keep).view_as(parts)
        context = projected.new_empty(batch, longest, heads * size)
        products = (torch.bmm(part, value) for part, value in zip(kept, values, strict=True))
        _join_heads(context, 0, heads, products)
        ctx.heads, ctx.keep = heads, keep
        ctx.save_for_backward(projected, weights)
        return context

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        projected, weights = ctx.saved_tensors
        heads, keep = ctx.heads, ctx.keep
        longest = projected.shape[1]
        queries, keys, values = _by_head(projected, heads, 3)
        (contexts,) = _by_head(grads[0], heads, 1)
        parts = (len(queries), -1, longest, longest)
        grad = torch.empty_like(weights)
        for context, value, part in zip(contexts, values, grad.view(parts), strict=True):
            torch.bmm(context, value.transpose(1, 2), out=part)
        kept = weights
        if keep is not None:
            grad.mul_(keep)
            kept = keep.mul_(weights)
        grad_projected = torch.empty_like(projected)
        mixed = zip(kept.view(parts), contexts, strict=True)
        _join_heads(grad_projected, 2, heads, (torch.bmm(part.transpose(1, 2), c) for part, c in mixed))
        torch.ops.aten._softmax_backward_data.out(grad, weights, -1, grad.dtype, grad_input=grad)
        scores = grad.view(parts)
        products = (torch.bmm(part, key) for part, key in zip(scores, keys, strict=True))
        _join_heads(grad_projected, 0, heads, products)
        products = (
            torch.bmm(part.transpose(1, 2), query) for part, query in zip(scores, queries, strict=True)
        )
        _join_heads(grad_projected, 1, heads, products)
        return grad_projected, None, None


@lru_cache(maxsize=256)
def _future(longest: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.full((longest, longest), -math.inf, dtype=dtype, device=device).triu(1)


def _by_head(x: Tensor, heads: int, parts: int) -> Tensor:
    """Split the last axis of `x`, [batch, length, parts * hidden].

    Returns:
        [parts, heads, batch, length, hidden / heads] without a copy on a CPU. On a GPU, where a launch costs
        more than a copy, [parts, 1, heads * batch, length, hidden / heads].
    """
    batch, longest, width = x.shape
    size = width // parts // heads
    split = x.view(batch, longest, parts, heads, size).permute(2, 3, 0, 1, 4)
    return split if x.device.type == "cpu" else split.reshape(parts, 1, heads * batch, longest, size)


def _join_heads(out: Tensor, part: int, heads: int, products: Any) -> None:
    """Write products, as many as `_by_head` has, to a `part` of the last axis of `out`."""
    batch, longest, _ = out.shape
    joined = list(products)
    size, step = joined[0].shape[-1], heads // len(joined)
    target = out.view(batch, longest, -1, heads, size)[:, :, part].permute(2, 0, 1, 3)
    for number, product in enumerate(joined):
        target[number * step : (number + 1) * step].copy_(product.view(step, batch, longest, size))


def causal_attention(projected: Tensor, heads: int, keep: Tensor | None) -> Tensor:
    """Return what each position reads of itself and earlier ones.

    Args:
        projected: Queries divided by the root of their size, keys and values, [batch, length, 3 * hidden].
        heads: Number of heads.
        keep: The weights that dropout keeps, [heads, batch, length, length].

    Returns:
        [batch, length, hidden].
    """
    context: Tensor = _CausalAttention.apply(projected, heads, keep)  # type: ignore[no-untyped-call]
    return context


class _LastAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, x: Tensor, length: Tensor, keep: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        weights = torch.bmm(queries, x.transpose(1, 2))
        padding = numbers(x.shape[1], x.device) >= length[:, None]
        weights.masked_fill_(padding[:, None], -math.inf)
        torch.softmax(weights, -1, out=weights)
        kept = weights if keep is None else weights * keep
        ctx.keep = keep
        ctx.save_for_backward(queries, x, weights, kept)
        return torch.bmm(kept, x), kept.sum(-1, keepdim=True)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        queries, x, weights, kept = ctx.saved_tensors
        keep = ctx.keep
        mixed, total = grads
        grad = torch.baddbmm(total, mixed, x.transpose(1, 2))
        if keep is not None:
            grad.mul_(keep)
        torch.ops.aten._softmax_backward_data.out(grad, weights, -1, grad.dtype, grad_input=grad)
        grad_x = torch.bmm(kept.transpose(1, 2), mixed)
        grad_x.baddbmm_(grad.transpose(1, 2), queries)
        return torch.bmm(grad, x), grad_x, None, None


def last_attention(queries: Tensor, x: Tensor, length: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return for the last position of each sample the means of `x` that its queries read.

    Args:
        queries: In the space of `x`, [batch, heads, hidden].
        x: [batch, longest, hidden].
        length: Number of real positions, [batch].
        keep: The weights that dropout keeps, [batch, heads, longest].

    Returns:
        The means, [batch, heads, hidden], and the sums of the weights, [batch, heads, 1].
    """
    found: tuple[Tensor, Tensor] = _LastAttention.apply(queries, x, length, keep)  # type: ignore[no-untyped-call]
    return found


class _WithLast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        ctx.last = numbers(len(x), x.device), length - 1
        return x.view_as(x), x[ctx.last]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        whole, last = grads
        # No sample occurs twice, so nothing is summed in an order that could change.
        whole[ctx.last] = whole[ctx.last] + last
        return whole, None


def with_last(x: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Return `x`, [batch, longest, hidden], and its last real positions, [batch, hidden].

    `x` must be used by one operation, whose gradient is a tensor of its own.
    """
    both: tuple[Tensor, Tensor] = _WithLast.apply(x, length)  # type: ignore[no-untyped-call]
    return both
