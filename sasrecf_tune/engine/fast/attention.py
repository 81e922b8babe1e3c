"""RecBole's transformer layer, evaluated for all positions or for the last position only.

RecBole masks by adding -10000 to scores, this module by -inf. The results differ only for scores that are
10000 apart, in a model that has diverged.

Source: recbole/model/layers.py (TransformerLayer, MultiHeadAttention, FeedForward), whose modules hold the
weights.
"""

from __future__ import annotations

import math

import torch
from recbole.model.layers import FeedForward, TransformerLayer
from torch import Tensor, nn
from torch.nn import functional

from sasrecf_tune.engine.fast.dropout import DropoutRates, keep_scale
from sasrecf_tune.engine.fast.functions import add_kept, causal_attention, last_attention, with_last

# What is kept after the attention and after the feed-forward network.
HiddenPair = tuple[Tensor | None, Tensor | None]


def all_positions(
    layer: TransformerLayer, x: Tensor, rates: DropoutRates, attended: Tensor | None, kept: HiddenPair
) -> Tensor:
    """Evaluate a layer for all positions, each of which attends to itself and earlier ones.

    Padding is on the right, so that no real position attends to it.

    Args:
        layer: RecBole's layer.
        x: Its input, [batch, length, hidden].
        rates: Dropout probabilities.
        attended: The layer's mask of attention weights (dropout.AttentionMasks).
        kept: The layer's masks of hidden states (dropout.HiddenMasks).

    Returns:
        [batch, length, hidden].
    """
    attention = layer.multi_head_attention
    batch, longest, hidden = x.shape
    heads, size = attention.num_attention_heads, attention.attention_head_size
    # The weights are smaller than the scores.
    scale = 1 / math.sqrt(size)
    weight = torch.cat([attention.query.weight * scale, attention.key.weight, attention.value.weight])
    bias = torch.cat([attention.query.bias * scale, attention.key.bias, attention.value.bias])
    projected = functional.linear(x, weight, bias)
    if attended is None and not torch.is_grad_enabled():
        split = projected.view(batch, longest, 3, heads, size).permute(2, 0, 3, 1, 4)
        context = functional.scaled_dot_product_attention(*split, is_causal=True, scale=1.0)
        context = context.transpose(1, 2).reshape(batch, longest, hidden)
    else:
        # A GPU's fused kernels are not used: their backward pass is not deterministic.
        context = causal_attention(projected, heads, attended)
    return _after_attention(layer, x, context, rates, kept)


def last_position(
    layer: TransformerLayer,
    x: Tensor,
    length: Tensor,
    rates: DropoutRates,
    attended: Tensor | None,
    kept: HiddenPair,
) -> Tensor:
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
        attended: As in `all_positions`.
        kept: As in `all_positions`.

    Returns:
        [batch, hidden].
    """
    attention = layer.multi_head_attention
    batch, _, hidden = x.shape
    heads, size = attention.num_attention_heads, attention.attention_head_size
    x, last = with_last(x, length)
    query = functional.linear(last, attention.query.weight, attention.query.bias).view(batch, heads, size)
    keys = attention.key.weight.view(heads, size, hidden) / math.sqrt(size)
    values = attention.value.weight.view(heads, size, hidden)
    queries = torch.bmm(query.transpose(0, 1), keys).transpose(0, 1)  # [batch, heads, hidden]
    mixed, total = last_attention(queries, x, length, attended)
    context = torch.bmm(mixed.transpose(0, 1), values.transpose(1, 2)).transpose(
        0, 1
    )  # [batch, heads, hidden / heads]
    context = context + total * attention.value.bias.view(heads, size)
    return _after_attention(layer, last, context.reshape(batch, hidden), rates, kept)


def _after_attention(
    layer: TransformerLayer, x: Tensor, context: Tensor, rates: DropoutRates, kept: HiddenPair
) -> Tensor:
    """Apply output projection and feed-forward network, each with dropout, residual and LayerNorm.

    Inputs may have any leading shape. Dropout, also that of `context`, is scaled in the weights, which are
    smaller than the activations.
    """
    attention, forward = layer.multi_head_attention, layer.feed_forward
    scale = keep_scale(rates.hidden)
    dense = _scaled_linear(context, attention.dense, keep_scale(rates.attention) * scale, scale)
    x = attention.LayerNorm(add_kept(x, dense, kept[0]))
    inner = activation(forward, functional.linear(x, forward.dense_1.weight, forward.dense_1.bias))
    dense = _scaled_linear(inner, forward.dense_2, scale, scale)
    normed: Tensor = forward.LayerNorm(add_kept(x, dense, kept[1]))
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
