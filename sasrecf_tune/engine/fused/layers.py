"""The transformer's layers (attention.py) for several trials at once: one batched product in place of N.

N trials, B samples of each, L positions, H hidden size, h heads, d = H / h. Weights and rates have the
trial axis in front; nothing is ever summed over it, so no trial sees another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sasrecf_tune.engine.fast.dropout import masked


@dataclass(frozen=True)
class Run:
    """Neighbouring trials `first` to `past` with the same number of heads."""

    first: int
    past: int
    heads: int

    def of(self, x: Tensor) -> Tensor:
        """Their part of `x` [N, ...]."""
        return x[self.first : self.past]


@dataclass(frozen=True)
class Layer:
    """One layer's weights by RecBole's names within it, and what is the same for all layers.

    `kept` are the factors 1 / (1 - p) that dropout leaves to the weights: [N, 1, 1] each.
    """

    weights: Mapping[str, Tensor]
    runs: Sequence[Run]
    act: Callable[[Tensor], Tensor]
    eps: float
    kept_hidden: Tensor
    kept_attention: Tensor


@dataclass(frozen=True)
class LayerMasks:
    """What dropout keeps in a layer; None where no trial drops anything."""

    attention: Sequence[
        Tensor | None
    ]  # of each run of n trials [n, B, h, L, L], of the last layer [n, B, h, L]
    after_attention: Tensor | None  # [N, B, L, H], of the last layer [N, B, H]
    after_forward: Tensor | None  # the same


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Of each trial: `x` [N, ..., I], `weight` [N, O, I], `bias` [N, O]: [N, ..., O]."""
    trials, inputs = x.shape[0], x.shape[-1]
    flat = torch.baddbmm(bias[:, None], x.reshape(trials, -1, inputs), weight.transpose(1, 2))
    return flat.view(*x.shape[:-1], weight.shape[1])


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Of each trial: `x` [N, ..., H], `weight` and `bias` [N, H]."""
    shape = (len(x), *(1,) * (x.dim() - 2), x.shape[-1])
    return torch.addcmul(
        bias.view(shape), functional.layer_norm(x, x.shape[-1:], eps=eps), weight.view(shape)
    )


def all_positions(layer: Layer, x: Tensor, masks: LayerMasks) -> Tensor:
    """See attention.all_positions; `x` [N, B, L, H]."""
    names = [f"multi_head_attention.{name}" for name in ("query", "key", "value")]
    weight = torch.cat([layer.weights[f"{name}.weight"] for name in names], dim=1)
    bias = torch.cat([layer.weights[f"{name}.bias"] for name in names], dim=1)
    projected = linear(x, weight, bias)
    contexts = [
        _context(run.of(projected), run.heads, keep)
        for run, keep in zip(layer.runs, masks.attention, strict=True)
    ]
    return _after_attention(layer, x, _joined(contexts), masks)


def _context(projected: Tensor, heads: int, keep: Tensor | None) -> Tensor:
    """What attention gives for queries, keys and values `projected` [n, B, L, 3 H]: [n, B, L, H]."""
    trials, batch, longest, thrice = projected.shape
    size = thrice // 3 // heads
    split = projected.reshape(trials * batch, longest, 3, heads, size)
    query, key, value = split.permute(2, 0, 3, 1, 4)  # each [n * B, h, L, d]
    if keep is None and (projected.device.type == "cpu" or not torch.is_grad_enabled()):
        context = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    else:
        flat = (trials * batch * heads, longest, size)
        future = query.new_full((longest, longest), -math.inf).triu(1)
        scores = torch.baddbmm(
            future, query.reshape(flat), key.reshape(flat).transpose(1, 2), alpha=1 / math.sqrt(size)
        )
        weights = torch.softmax(scores, dim=-1).view(trials, batch, heads, longest, longest)
        weights = masked(weights, keep)
        context = torch.bmm(weights.view(-1, longest, longest), value.reshape(flat))
        context = context.view(trials * batch, heads, longest, size)
    return context.transpose(1, 2).reshape(trials, batch, longest, heads * size)


def last_position(layer: Layer, x: Tensor, length: Tensor, masks: LayerMasks) -> Tensor:
    """See attention.last_position; `x` [N, B, L, H], `length` [N, B]: [N, B, H]."""
    trials, batch, longest, hidden = x.shape
    flat = x.reshape(trials * batch, longest, hidden)
    own = flat[torch.arange(trials * batch, device=x.device), length.reshape(-1) - 1]
    own = own.view(trials, batch, hidden)
    contexts = [
        _last_context(
            {name: run.of(weight) for name, weight in layer.weights.items()},
            run.heads,
            (run.of(x), run.of(own), run.of(length)),
            keep,
        )
        for run, keep in zip(layer.runs, masks.attention, strict=True)
    ]
    return _after_attention(layer, own, _joined(contexts), masks)


def _last_context(
    get: Mapping[str, Tensor], heads: int, inputs: tuple[Tensor, Tensor, Tensor], keep: Tensor | None
) -> Tensor:
    """What attention gives the last position `own` [n, B, H] of `x` [n, B, L, H]: [n, B, H]."""
    x, own, length = inputs
    trials, batch, longest, hidden = x.shape
    size = hidden // heads
    flat = x.reshape(trials * batch, longest, hidden)
    name = "multi_head_attention"
    query = linear(own, get[f"{name}.query.weight"], get[f"{name}.query.bias"])
    keys = get[f"{name}.key.weight"].reshape(trials * heads, size, hidden)
    values = get[f"{name}.value.weight"].reshape(trials * heads, size, hidden)
    carried = torch.bmm(_by_head(query.view(trials, batch, heads, size)), keys) / math.sqrt(size)
    scores = torch.bmm(_by_sample(carried, trials).reshape(-1, heads, hidden), flat.transpose(1, 2))
    padding = torch.arange(longest, device=x.device) >= length.reshape(-1, 1)
    weights = torch.softmax(scores.masked_fill(padding[:, None], -math.inf), dim=-1)
    weights = masked(weights.view(trials, batch, heads, longest), keep)
    mixed = torch.bmm(weights.view(-1, heads, longest), flat)  # [n * B, h, H]
    context = torch.bmm(_by_head(mixed.view(trials, batch, heads, hidden)), values.transpose(1, 2))
    bias = get[f"{name}.value.bias"].view(trials, 1, heads, size)
    context = _by_sample(context, trials) + weights.sum(-1, keepdim=True) * bias
    return context.reshape(trials, batch, hidden)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _by_head(x: Tensor) -> Tensor:
    """[N, B, h, ...] as [N * h, B, ...]."""
    return x.transpose(1, 2).reshape(-1, x.shape[1], x.shape[3])


def _by_sample(x: Tensor, trials: int) -> Tensor:
    """[N * h, B, ...] as [N, B, h, ...]."""
    return x.view(trials, -1, *x.shape[1:]).transpose(1, 2)


def _after_attention(layer: Layer, x: Tensor, context: Tensor, masks: LayerMasks) -> Tensor:
    """See attention._after_attention; any shape after [N]."""
    get, kept = layer.weights, layer.kept_hidden
    attention, forward = "multi_head_attention", "feed_forward"
    dense = _scaled(context, get, f"{attention}.dense", layer.kept_attention * kept, kept)
    x = _normed(layer, f"{attention}.LayerNorm", x + masked(dense, masks.after_attention))
    inner = linear(x, get[f"{forward}.dense_1.weight"], get[f"{forward}.dense_1.bias"])
    dense = _scaled(layer.act(inner), get, f"{forward}.dense_2", kept, kept)
    return _normed(layer, f"{forward}.LayerNorm", x + masked(dense, masks.after_forward))


def _scaled(x: Tensor, get: Mapping[str, Tensor], name: str, of_weight: Tensor, of_bias: Tensor) -> Tensor:
    weight, bias = get[f"{name}.weight"], get[f"{name}.bias"]
    return linear(x, weight * of_weight, bias * of_bias.squeeze(-1))


def _normed(layer: Layer, name: str, x: Tensor) -> Tensor:
    return layer_norm(x, layer.weights[f"{name}.weight"], layer.weights[f"{name}.bias"], layer.eps)
