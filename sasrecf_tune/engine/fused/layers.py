"""The transformer layers of fast/attention.py for several trials at once, with batched products.

Weights and dropout rates have a leading trial axis. Nothing is summed over it, so trials are independent. In
the shapes below, d is hidden / heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sasrecf_tune.engine.fast.dropout import Heads
from sasrecf_tune.engine.fast.functions import add_kept_, causal_attention, last_attention, with_last


class HeadGroup(Heads):
    """Adjacent trials with the same number of heads, and their part of a tensor."""

    __slots__ = ()

    @property
    def trials(self) -> range:
        """The trials' numbers."""
        return range(self.first, self.end)

    def select(self, x: Tensor) -> Tensor:
        """Return their part of `x`, [trials, ...]."""
        # A slice has a backward pass, which copies.
        return x if self.end - self.first == len(x) else x[self.first : self.end]


@dataclass(frozen=True)
class Layer:
    """The weights of one layer, and what is the same for all layers.

    Attributes:
        weights: By RecBole's names within the layer, [trials, ...], scaled (encoder.Encoder.scale_weights).
        act: The activation function.
    """

    weights: Mapping[str, Tensor]
    head_groups: Sequence[HeadGroup]
    act: Callable[[Tensor], Tensor]
    eps: float


@dataclass(frozen=True)
class LayerMasks:
    """What dropout keeps in a layer; None where no trial drops anything.

    Attributes:
        attention: For each head group an element of dropout.AttentionMasks, for the samples of its trials.
        hidden: An element of dropout.HiddenMasks.layers, for the samples of all trials.
    """

    attention: Sequence[Tensor | None]
    hidden: tuple[Tensor | None, Tensor | None]


class _Linear(torch.autograd.Function):
    # torch's own would give the weight's gradient transposed, and copy it.
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        (grad,) = grads
        return torch.bmm(grad, weight), torch.bmm(grad.transpose(1, 2), x), grad.sum(1)


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply each trial's `weight`, [trials, outputs, inputs], and `bias` to `x`, [trials, ..., inputs]."""
    trials, inputs = x.shape[0], x.shape[-1]
    flat: Tensor = _Linear.apply(x.reshape(trials, -1, inputs), weight, bias)  # type: ignore[no-untyped-call]
    return flat.view(*x.shape[:-1], weight.shape[1])


class _Affine(torch.autograd.Function):
    # torch's addcmul would multiply two factors by one in its backward pass.
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.addcmul(bias[:, None], x, weight[:, None])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        (grad,) = grads
        return grad * weight[:, None], (grad * x).sum(1), grad.sum(1)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Apply each trial's LayerNorm to `x`, [trials, ..., hidden]; weight and bias are [trials, hidden]."""
    normal = functional.layer_norm(x, x.shape[-1:], eps=eps).view(len(x), -1, x.shape[-1])
    result: Tensor = _Affine.apply(normal, weight, bias)  # type: ignore[no-untyped-call]
    return result.view_as(x)


def all_positions(layer: Layer, x: Tensor, masks: LayerMasks) -> Tensor:
    """Evaluate a layer for all positions of `x`, [trials, batch, length, hidden], as fast.attention does."""
    name = "multi_head_attention"
    parts = [layer.weights[f"{name}.{part}.weight"] for part in ("query", "key", "value")]
    biases = [layer.weights[f"{name}.{part}.bias"] for part in ("query", "key", "value")]
    weight = torch.cat(parts, dim=1)
    bias = torch.cat(biases, dim=1)
    projected = linear(x, weight, bias)
    contexts = [
        _context(group.select(projected), group.heads, keep)
        for group, keep in zip(layer.head_groups, masks.attention, strict=True)
    ]
    return _after_attention(layer, x, _concatenate(contexts), masks)


def _context(projected: Tensor, heads: int, keep: Tensor | None) -> Tensor:
    """Return attention's output for queries, keys and values, [trials, batch, length, 3 * hidden]."""
    trials, batch, longest, thrice = projected.shape
    flat = projected.reshape(trials * batch, longest, thrice)
    if keep is None and not torch.is_grad_enabled():
        query, key, value = flat.view(trials * batch, longest, 3, heads, -1).permute(2, 0, 3, 1, 4)
        context = functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=1.0)
        context = context.transpose(1, 2)
    else:
        context = causal_attention(flat, heads, keep)
    return context.reshape(trials, batch, longest, thrice // 3)


def last_position(layer: Layer, x: Tensor, length: Tensor, masks: LayerMasks) -> Tensor:
    """Evaluate a layer for the last real position of each sample, as fast.attention does.

    Args:
        layer: The layer.
        x: Its input, [trials, batch, length, hidden].
        length: Number of real positions, [trials, batch].
        masks: What dropout keeps.

    Returns:
        [trials, batch, hidden].
    """
    trials, batch, longest, hidden = x.shape
    flat, last = with_last(x.reshape(trials * batch, longest, hidden), length.reshape(-1))
    x, last = flat.view_as(x), last.view(trials, batch, hidden)
    contexts = [
        _last_context(
            {name: group.select(weight) for name, weight in layer.weights.items()},
            group.heads,
            (group.select(x), group.select(last), group.select(length)),
            keep,
        )
        for group, keep in zip(layer.head_groups, masks.attention, strict=True)
    ]
    return _after_attention(layer, last, _concatenate(contexts), masks)


def _last_context(
    get: Mapping[str, Tensor], heads: int, inputs: tuple[Tensor, Tensor, Tensor], keep: Tensor | None
) -> Tensor:
    """Return attention's output for the last positions, [trials, batch, hidden]."""
    x, last, length = inputs
    trials, batch, longest, hidden = x.shape
    size = hidden // heads
    flat = x.reshape(trials * batch, longest, hidden)
    name = "multi_head_attention"
    query = linear(last, get[f"{name}.query.weight"], get[f"{name}.query.bias"])
    keys = get[f"{name}.key.weight"].reshape(trials * heads, size, hidden)
    values = get[f"{name}.value.weight"].reshape(trials * heads, size, hidden)
    queries = _by_sample(torch.bmm(_by_head(query.view(trials, batch, heads, size)), keys), trials)
    queries = queries.reshape(-1, heads, hidden)
    mixed, total = last_attention(queries, flat, length.reshape(-1), keep)
    context = torch.bmm(_by_head(mixed.view(trials, batch, heads, hidden)), values.transpose(1, 2))
    bias = get[f"{name}.value.bias"].view(trials, 1, heads, size)
    context = _by_sample(context, trials) + total.view(trials, batch, heads, 1) * bias
    return context.reshape(trials, batch, hidden)


def _concatenate(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _by_head(x: Tensor) -> Tensor:
    """Reshape [trials, batch, heads, ...] to [trials * heads, batch, ...]."""
    return x.transpose(1, 2).reshape(-1, x.shape[1], x.shape[3])


def _by_sample(x: Tensor, trials: int) -> Tensor:
    """Reshape [trials * heads, batch, ...] to [trials, batch, heads, ...]."""
    return x.view(trials, -1, *x.shape[1:]).transpose(1, 2)


def _after_attention(layer: Layer, x: Tensor, context: Tensor, masks: LayerMasks) -> Tensor:
    """Apply the rest of the layer, as fast.attention does; inputs may have any shape after [trials]."""
    attention, forward = "multi_head_attention", "feed_forward"
    dense = _linear(layer, f"{attention}.dense", context)
    x = _layer_norm(layer, f"{attention}.LayerNorm", _add_kept(x, dense, masks.hidden[0]))
    inner = layer.act(_linear(layer, f"{forward}.dense_1", x))
    dense = _linear(layer, f"{forward}.dense_2", inner)
    return _layer_norm(layer, f"{forward}.LayerNorm", _add_kept(x, dense, masks.hidden[1]))


def _add_kept(x: Tensor, dense: Tensor, keep: Tensor | None) -> Tensor:
    return add_kept_(x, dense, None if keep is None else keep.view_as(x))


def _linear(layer: Layer, name: str, x: Tensor) -> Tensor:
    return linear(x, layer.weights[f"{name}.weight"], layer.weights[f"{name}.bias"])


def _layer_norm(layer: Layer, name: str, x: Tensor) -> Tensor:
    return layer_norm(x, layer.weights[f"{name}.weight"], layer.weights[f"{name}.bias"], layer.eps)
