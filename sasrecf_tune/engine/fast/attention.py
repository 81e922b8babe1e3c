"""RecBole's transformer layer, evaluated for all positions or for the last position alone.

Source: recbole/model/layers.py (TransformerLayer, MultiHeadAttention, FeedForward), whose modules hold
the weights. B samples, L positions, H hidden size, h heads, d = H / h.

RecBole masks by adding -10000, here nothing is seen of a masked position. The two differ only where scores
lie 10000 apart, in a model that has diverged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from recbole.model.layers import FeedForward, TransformerLayer
from torch import Tensor, nn
from torch.nn import functional

from sasrecf_tune.engine.fast.dropout import inverse_keep, mask


@dataclass(frozen=True)
class Rates:
    """Dropout probabilities; both 0 outside of training."""

    hidden: float
    attention: float


def all_positions(layer: TransformerLayer, x: Tensor, rates: Rates) -> Tensor:
    """One layer for each position of `x` [B, L, H], which sees itself and those before it: [B, L, H].

    Padding is on the right, so that no real position ever sees it.
    """
    attention = layer.multi_head_attention
    batch, longest, hidden = x.shape
    heads, size = attention.num_attention_heads, attention.attention_head_size
    weight = torch.cat([attention.query.weight, attention.key.weight, attention.value.weight])
    bias = torch.cat([attention.query.bias, attention.key.bias, attention.value.bias])
    projected = functional.linear(x, weight, bias).view(batch, longest, 3, heads, size)
    query, key, value = projected.permute(2, 0, 3, 1, 4)  # each [B, h, L, d]
    if rates.attention == 0 and (x.device.type == "cpu" or not torch.is_grad_enabled()):
        context = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    else:
        # Not the fused kernels of a GPU either: their backward adds up in an order of its own each time.
        context = _causal(query, key, value, rates.attention)
    context = context.transpose(1, 2).reshape(batch, longest, hidden)
    return _after_attention(layer, x, context, rates)


def last_position(layer: TransformerLayer, x: Tensor, length: Tensor, rates: Rates) -> Tensor:
    """One layer for the last real position of each sample of `x` [B, L, H], `length` [B]: [B, H].

    The one query is carried into the space of the inputs (q K^T = (q W_k) x^T), and the values are
    projected after they are averaged, so that no key and no value of any position is ever computed.
    The bias of the keys adds the same to all scores of a query, which softmax does not see: it has no
    gradient here and rounding errors for one in RecBole.
    """
    attention = layer.multi_head_attention
    batch, longest, hidden = x.shape
    heads, size = attention.num_attention_heads, attention.attention_head_size
    own = x[torch.arange(batch, device=x.device), length - 1]  # [B, H]
    query = functional.linear(own, attention.query.weight, attention.query.bias).view(batch, heads, size)
    keys = attention.key.weight.view(heads, size, hidden)
    values = attention.value.weight.view(heads, size, hidden)
    carried = torch.bmm(query.transpose(0, 1), keys).transpose(0, 1) / math.sqrt(size)  # [B, h, H]
    scores = torch.bmm(carried, x.transpose(1, 2))  # [B, h, L]
    padding = torch.arange(longest, device=x.device) >= length[:, None]
    weights = torch.softmax(scores.masked_fill(padding[:, None], -math.inf), dim=-1)
    weights = mask(weights, rates.attention)
    mixed = torch.bmm(weights, x)  # [B, h, H]
    context = torch.bmm(mixed.transpose(0, 1), values.transpose(1, 2)).transpose(0, 1)  # [B, h, d]
    context = context + weights.sum(-1, keepdim=True) * attention.value.bias.view(heads, size)
    return _after_attention(layer, own, context.reshape(batch, hidden), rates)


def _causal(query: Tensor, key: Tensor, value: Tensor, p: float) -> Tensor:
    """Attention [B, h, L, d] with dropped weights that are not scaled up."""
    batch, heads, longest, size = query.shape
    flat = (batch * heads, longest, size)
    future = query.new_full((longest, longest), -math.inf).triu(1)
    scores = torch.baddbmm(
        future,
        query.reshape(flat),
        key.reshape(flat).transpose(1, 2),
        alpha=1 / math.sqrt(size),
    )
    weights = mask(torch.softmax(scores, dim=-1), p)
    return torch.bmm(weights, value.reshape(flat)).view(batch, heads, longest, size)


def _after_attention(layer: TransformerLayer, x: Tensor, context: Tensor, rates: Rates) -> Tensor:
    """Output projection and feed-forward, each with dropout, residual and LayerNorm; any leading shape.

    What dropout leaves unscaled, attention's `context` too, is scaled through the weights: they are small.
    """
    attention, forward = layer.multi_head_attention, layer.feed_forward
    kept = inverse_keep(rates.hidden)
    dense = _scaled_linear(context, attention.dense, inverse_keep(rates.attention) * kept, kept)
    x = attention.LayerNorm(x + mask(dense, rates.hidden))
    inner = activation(forward, functional.linear(x, forward.dense_1.weight, forward.dense_1.bias))
    dense = _scaled_linear(inner, forward.dense_2, kept, kept)
    normed: Tensor = forward.LayerNorm(x + mask(dense, rates.hidden))
    return normed


def _scaled_linear(x: Tensor, linear: nn.Linear, weight_scale: float, bias_scale: float) -> Tensor:
    weight = linear.weight if weight_scale == 1 else linear.weight * weight_scale
    bias = linear.bias if bias_scale == 1 else linear.bias * bias_scale
    return functional.linear(x, weight, bias)


def activation(forward: FeedForward, x: Tensor) -> Tensor:
    """What stands between the two projections of `forward`."""
    # RecBole writes gelu and swish out in several passes; torch's own are the same functions.
    function = forward.intermediate_act_fn
    if function == forward.gelu:
        return functional.gelu(x)
    if function == forward.swish:
        return functional.silu(x)
    activated: Tensor = function(x)
    return activated
