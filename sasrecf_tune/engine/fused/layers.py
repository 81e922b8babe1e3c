"""The transformer layers of fast/attention.py for several trials at once, with batched products.

Weights and dropout rates have a leading trial axis. Nothing is summed over it, so trials are independent. In
the shapes below, d is hidden / heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sasrecf_tune.engine.fast.dropout import apply_mask


@dataclass(frozen=True)
class HeadGroup:
    """Adjacent trials `first` to `end` - 1 with the same number of heads."""

    first: int
    end: int
    heads: int

    def select(self, x: Tensor) -> Tensor:
        """Return their part of `x`, [trials, ...]."""
        return x[self.first : self.end]


@dataclass(frozen=True)
class Layer:
    """The weights of one layer, and what is the same for all layers.

    Attributes:
        weights: By RecBole's names within the layer, [trials, ...].
        act: The activation function.
        scale_hidden: The factors 1 / (1 - p) that unscaled dropout leaves to the weights, [trials, 1, 1].
        scale_attention: The same for attention weights.
    """

    weights: Mapping[str, Tensor]
    head_groups: Sequence[HeadGroup]
    act: Callable[[Tensor], Tensor]
    eps: float
    scale_hidden: Tensor
    scale_attention: Tensor


@dataclass(frozen=True)
class LayerMasks:
    """What dropout keeps in a layer; None where no trial drops anything.

    Attributes:
        attention: For each head group [trials, batch, heads, length, length]; in the last layer
            [trials, batch, heads, length].
        after_attention: [trials, batch, length, hidden]; in the last layer [trials, batch, hidden].
        after_forward: The same.
    """

    attention: Sequence[Tensor | None]
    after_attention: Tensor | None
    after_forward: Tensor | None


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply each trial's `weight`, [trials, outputs, inputs], and `bias` to `x`, [trials, ..., inputs]."""
    trials, inputs = x.shape[0], x.shape[-1]
    flat = torch.baddbmm(bias[:, None], x.reshape(trials, -1, inputs), weight.transpose(1, 2))
    return flat.view(*x.shape[:-1], weight.shape[1])


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Apply each trial's LayerNorm to `x`, [trials, ..., hidden]; weight and bias are [trials, hidden]."""
    shape = (len(x), *(1,) * (x.dim() - 2), x.shape[-1])
    return torch.addcmul(
        bias.view(shape), functional.layer_norm(x, x.shape[-1:], eps=eps), weight.view(shape)
    )


def all_positions(layer: Layer, x: Tensor, masks: LayerMasks) -> Tensor:
    """Evaluate a layer for all positions of `x`, [trials, batch, length, hidden], as fast.attention does."""
    names = [f"multi_head_attention.{name}" for name in ("query", "key", "value")]
    weight = torch.cat([layer.weights[f"{name}.weight"] for name in names], dim=1)
    bias = torch.cat([layer.weights[f"{name}.bias"] for name in names], dim=1)
    projected = linear(x, weight, bias)
    contexts = [
        _context(group.select(projected), group.heads, keep)
        for group, keep in zip(layer.head_groups, masks.attention, strict=True)
    ]
    return _after_attention(layer, x, _concatenate(contexts), masks)


def _context(projected: Tensor, heads: int, keep: Tensor | None) -> Tensor:
    """Return attention's output for queries, keys and values, [trials, batch, length, 3 * hidden]."""
    trials, batch, longest, thrice = projected.shape
    size = thrice // 3 // heads
    split = projected.reshape(trials * batch, longest, 3, heads, size)
    query, key, value = split.permute(2, 0, 3, 1, 4)  # each [trials * batch, heads, length, d]
    if keep is None and (projected.device.type == "cpu" or not torch.is_grad_enabled()):
        context = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    else:
        flat = (trials * batch * heads, longest, size)
        future = query.new_full((longest, longest), -math.inf).triu(1)
        scores = torch.baddbmm(
            future, query.reshape(flat), key.reshape(flat).transpose(1, 2), alpha=1 / math.sqrt(size)
        )
        weights = torch.softmax(scores, dim=-1).view(trials, batch, heads, longest, longest)
        weights = apply_mask(weights, keep)
        context = torch.bmm(weights.view(-1, longest, longest), value.reshape(flat))
        context = context.view(trials * batch, heads, longest, size)
    return context.transpose(1, 2).reshape(trials, batch, longest, heads * size)


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
    flat = x.reshape(trials * batch, longest, hidden)
    last = flat[torch.arange(trials * batch, device=x.device), length.reshape(-1) - 1]
    last = last.view(trials, batch, hidden)
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
    queries = torch.bmm(_by_head(query.view(trials, batch, heads, size)), keys) / math.sqrt(size)
    scores = torch.bmm(_by_sample(queries, trials).reshape(-1, heads, hidden), flat.transpose(1, 2))
    padding = torch.arange(longest, device=x.device) >= length.reshape(-1, 1)
    weights = torch.softmax(scores.masked_fill(padding[:, None], -math.inf), dim=-1)
    weights = apply_mask(weights.view(trials, batch, heads, longest), keep)
    mixed = torch.bmm(weights.view(-1, heads, longest), flat)  # [trials * batch, heads, hidden]
    context = torch.bmm(_by_head(mixed.view(trials, batch, heads, hidden)), values.transpose(1, 2))
    bias = get[f"{name}.value.bias"].view(trials, 1, heads, size)
    context = _by_sample(context, trials) + weights.sum(-1, keepdim=True) * bias
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
    get, scale = layer.weights, layer.scale_hidden
    attention, forward = "multi_head_attention", "feed_forward"
    dense = _scaled_linear(context, get, f"{attention}.dense", layer.scale_attention * scale, scale)
    x = _layer_norm(layer, f"{attention}.LayerNorm", x + apply_mask(dense, masks.after_attention))
    inner = linear(x, get[f"{forward}.dense_1.weight"], get[f"{forward}.dense_1.bias"])
    dense = _scaled_linear(layer.act(inner), get, f"{forward}.dense_2", scale, scale)
    return _layer_norm(layer, f"{forward}.LayerNorm", x + apply_mask(dense, masks.after_forward))


def _scaled_linear(
    x: Tensor, get: Mapping[str, Tensor], name: str, weight_scale: Tensor, bias_scale: Tensor
) -> Tensor:
    weight, bias = get[f"{name}.weight"], get[f"{name}.bias"]
    return linear(x, weight * weight_scale, bias * bias_scale.squeeze(-1))


def _layer_norm(layer: Layer, name: str, x: Tensor) -> Tensor:
    return layer_norm(x, layer.weights[f"{name}.weight"], layer.weights[f"{name}.bias"], layer.eps)
