"""RecBole's transformer layer, evaluated for all positions or for the last position only.

RecBole masks by adding -10000 to scores, this module by -inf. The results differ only for scores that are
10000 apart, in a model that has diverged.

Source: recbole/model/layers.py (TransformerLayer, MultiHeadAttention, FeedForward), whose modules hold the
weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from recbole.model.layers import FeedForward, TransformerLayer
from torch import Tensor, nn
from torch.nn import functional

from sasrecf_tune.engine.fast.dropout import drop_unscaled, keep_scale


@dataclass(frozen=True)
class DropoutRates:
    """Dropout probabilities; both are 0 outside of training."""

    hidden: float
    attention: float


def all_positions(layer: TransformerLayer, x: Tensor, rates: DropoutRates) -> Tensor:
    """Evaluate a layer for all positions, each of which attends to itself and earlier ones.

    Padding is on the right, so that no real position attends to it.

    Args:
        layer: RecBole's layer.
        x: Its input, [batch, length, hidden].
        rates: Dropout probabilities.

    Returns:
        [batch, length, hidden].
    """
    attention = layer.multi_head_attention
    batch, longest, hidden = x.shape
    heads, size = attention.num_attention_heads, attention.attention_head_size
    weight = torch.cat([attention.query.weight, attention.key.weight, attention.value.weight])
    bias = torch.cat([attention.query.bias, attention.key.bias, attention.value.bias])
    projected = functional.linear(x, weight, bias).view(batch, longest, 3, heads, size)
    query, key, value = projected.permute(2, 0, 3, 1, 4)  # each [batch, heads, length, hidden / heads]
    if rates.attention == 0 and (x.device.type == "cpu" or not torch.is_grad_enabled()):
        context = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    else:
        # A GPU's fused kernels are not used: their backward pass is not deterministic.
        context = _causal(query, key, value, rates.attention)
    context = context.transpose(1, 2).reshape(batch, longest, hidden)
    return _after_attention(layer, x, context, rates)


def last_position(layer: TransformerLayer, x: Tensor, length: Tensor, rates: DropoutRates) -> Tensor:
    """Evaluate a layer for the last real position of each sample.

    The query is multiplied with the key weights first (q K^T = (q W_k) x^T), and the values are projected
    after they are averaged, so that keys and values of positions are never computed. The keys' bias adds a
    constant to all scores of a query, which softmax ignores: its gradient is None here and rounding errors in
    RecBole.

    Args:
        layer: RecBole's layer.
        x: Its input, [batch, length, hidden].
        length: Number of real positions, [batch].
        rates: Dropout probabilities.

    Returns:
        [batch, hidden].
    """
    attention = layer.multi_head_attention
    batch, longest, hidden = x.shape
    heads, size = attention.num_attention_heads, attention.attention_head_size
    last = x[torch.arange(batch, device=x.device), length - 1]  # [batch, hidden]
    query = functional.linear(last, attention.query.weight, attention.query.bias).view(batch, heads, size)
    keys = attention.key.weight.view(heads, size, hidden)
    values = attention.value.weight.view(heads, size, hidden)
    queries = torch.bmm(query.transpose(0, 1), keys).transpose(0, 1) / math.sqrt(
        size
    )  # [batch, heads, hidden]
    scores = torch.bmm(queries, x.transpose(1, 2))  # [batch, heads, length]
    padding = torch.arange(longest, device=x.device) >= length[:, None]
    weights = torch.softmax(scores.masked_fill(padding[:, None], -math.inf), dim=-1)
    weights = drop_unscaled(weights, rates.attention)
    mixed = torch.bmm(weights, x)  # [batch, heads, hidden]
    context = torch.bmm(mixed.transpose(0, 1), values.transpose(1, 2)).transpose(
        0, 1
    )  # [batch, heads, hidden / heads]
    context = context + weights.sum(-1, keepdim=True) * attention.value.bias.view(heads, size)
    return _after_attention(layer, last, context.reshape(batch, hidden), rates)


def _causal(query: Tensor, key: Tensor, value: Tensor, p: float) -> Tensor:
    """Return causal attention, [batch, heads, length, hidden / heads]; dropout is unscaled."""
    batch, heads, longest, size = query.shape
    flat = (batch * heads, longest, size)
    future = query.new_full((longest, longest), -math.inf).triu(1)
    scores = torch.baddbmm(
        future,
        query.reshape(flat),
        key.reshape(flat).transpose(1, 2),
        alpha=1 / math.sqrt(size),
    )
    weights = drop_unscaled(torch.softmax(scores, dim=-1), p)
    return torch.bmm(weights, value.reshape(flat)).view(batch, heads, longest, size)


def _after_attention(layer: TransformerLayer, x: Tensor, context: Tensor, rates: DropoutRates) -> Tensor:
    """Apply output projection and feed-forward network, each with dropout, residual and LayerNorm.

    Inputs may have any leading shape. Unscaled dropout, also that of `context`, is scaled in the weights,
    which are smaller than the activations.
    """
    attention, forward = layer.multi_head_attention, layer.feed_forward
    scale = keep_scale(rates.hidden)
    dense = _scaled_linear(context, attention.dense, keep_scale(rates.attention) * scale, scale)
    x = attention.LayerNorm(x + drop_unscaled(dense, rates.hidden))
    inner = activation(forward, functional.linear(x, forward.dense_1.weight, forward.dense_1.bias))
    dense = _scaled_linear(inner, forward.dense_2, scale, scale)
    normed: Tensor = forward.LayerNorm(x + drop_unscaled(dense, rates.hidden))
    return normed


def _scaled_linear(x: Tensor, linear: nn.Linear, weight_scale: float, bias_scale: float) -> Tensor:
    weight = linear.weight if weight_scale == 1 else linear.weight * weight_scale
    bias = linear.bias if bias_scale == 1 else linear.bias * bias_scale
    return functional.linear(x, weight, bias)


def activation(forward: FeedForward, x: Tensor) -> Tensor:
    """Apply the activation function between the two projections of `forward`."""
    # torch's gelu and swish are the same functions as RecBole's, but compute in one pass.
    function = forward.intermediate_act_fn
    if function == forward.gelu:
        return functional.gelu(x)
    if function == forward.swish:
        return functional.silu(x)
    activated: Tensor = function(x)
    return activated
