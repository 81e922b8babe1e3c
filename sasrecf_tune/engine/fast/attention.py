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
from torch import Tensor
from torch.nn import functional

from sasrecf_tune.engine.fast.dropout import DropoutRates, keep_scale
from sasrecf_tune.engine.fast.functions import add_kept_, causal_attention, last_attention, with_last

# What is kept after the attention and after the feed-forward network.
HiddenPair = tuple[Tensor | None, Tensor | None]


@dataclass(frozen=True)
class LayerWeights:
    """The weights of a layer as a step uses them: joined, and scaled by what masks leave out.

    Attributes:
        tensors: By name; those of RecBole's modules themselves where nothing is joined or scaled.
        heads: Number of attention heads.
        forward: RecBole's feed-forward network, for its activation function.
    """

    tensors: dict[str, Tensor]
    heads: int
    forward: FeedForward

    def linear(self, name: str, x: Tensor) -> Tensor:
        """Apply a projection."""
        return functional.linear(x, self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"])

    def norm(self, name: str, x: Tensor) -> Tensor:
        """Apply a LayerNorm."""
        weight, bias = self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]
        return functional.layer_norm(x, weight.shape, weight, bias, self.forward.LayerNorm.eps)


def layer_weights(layer: TransformerLayer, rates: DropoutRates, last: bool) -> LayerWeights:
    """Return the weights of a layer for `all_positions`, or for `last_position`.

    Scores are divided by the root of the size of a head, and dropout is scaled, in the weights, which are
    smaller than the activations.
    """
    attention, forward = layer.multi_head_attention, layer.feed_forward
    heads, size = attention.num_attention_heads, attention.attention_head_size
    query, key, value = attention.query, attention.key, attention.value
    root, scale = math.sqrt(size), keep_scale(rates.hidden)
    if last:
        tensors = {
            "query.weight": query.weight / root,
            "query.bias": query.bias / root,
            "key": key.weight.view(heads, size, -1),
            "value": value.weight.view(heads, size, -1).transpose(1, 2),
            "value.bias": value.bias.view(heads, size),
        }
    else:
        tensors = {
            "projection.weight": torch.cat([query.weight / root, key.weight, value.weight]),
            "projection.bias": torch.cat([query.bias / root, key.bias, value.bias]),
        }
    tensors |= {
        "attended.weight": attention.dense.weight * (keep_scale(rates.attention) * scale),
        "attended.bias": attention.dense.bias * scale,
        "out.weight": forward.dense_2.weight * scale,
        "out.bias": forward.dense_2.bias * scale,
    }
    plain = {"attended_norm": attention.LayerNorm, "in": forward.dense_1, "out_norm": forward.LayerNorm}
    for name, module in plain.items():
        tensors |= {f"{name}.weight": module.weight, f"{name}.bias": module.bias}
    return LayerWeights(tensors, heads, forward)


def all_positions(layer: LayerWeights, x: Tensor, attended: Tensor | None, kept: HiddenPair) -> Tensor:
    """Evaluate a layer for all positions, each of which attends to itself and earlier ones.

    Padding is on the right, so that no real position attends to it.

    Args:
        layer: Its weights.
        x: Its input, [batch, length, hidden].
        attended: The layer's mask of attention weights (dropout.AttentionMasks).
        kept: The layer's masks of hidden states (dropout.HiddenMasks).

    Returns:
        [batch, length, hidden].
    """
    projected = layer.linear("projection", x)
    if attended is None and not torch.is_grad_enabled():
        query, key, value = projected.view(*x.shape[:2], 3, layer.heads, -1).permute(2, 0, 3, 1, 4)
        context = functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=1.0)
        context = context.transpose(1, 2).reshape(x.shape)
    else:
        # A GPU's fused kernels are not used: their backward pass is not deterministic.
        context = causal_attention(projected, layer.heads, attended)
    return _after_attention(layer, x, context, kept)


def last_position(
    layer: LayerWeights, x: Tensor, length: Tensor, attended: Tensor | None, kept: HiddenPair
) -> Tensor:
    """Evaluate a layer for the last real position of each sample.

    The query is multiplied with the key weights first (q K^T = (q W_k) x^T), and the values are projected
    after they are averaged, so that keys and values of positions are never computed. The keys' bias adds a
    constant to all scores of a query, which softmax ignores: its gradient is None here and rounding errors in
    RecBole.

    Args:
        layer: Its weights.
        x: Its input, [batch, length, hidden].
        length: Number of real positions, [batch].
        attended: As in `all_positions`.
        kept: As in `all_positions`.

    Returns:
        [batch, hidden].
    """
    batch, _, hidden = x.shape
    x, last = with_last(x, length)
    query = layer.linear("query", last).view(batch, layer.heads, -1)
    queries = torch.bmm(query.transpose(0, 1), layer.tensors["key"]).transpose(0, 1)  # [batch, heads, hidden]
    mixed, total = last_attention(queries, x, length, attended)
    context = torch.bmm(mixed.transpose(0, 1), layer.tensors["value"]).transpose(0, 1)
    context = context + total * layer.tensors["value.bias"]  # [batch, heads, hidden / heads]
    return _after_attention(layer, last, context.reshape(batch, hidden), kept)


def _after_attention(layer: LayerWeights, x: Tensor, context: Tensor, kept: HiddenPair) -> Tensor:
    """Apply output projection and feed-forward network, each with dropout, residual and LayerNorm.

    Inputs may have any leading shape.
    """
    x = layer.norm("attended_norm", add_kept_(x, layer.linear("attended", context), kept[0]))
    inner = activation(layer.forward, layer.linear("in", x))
    return layer.norm("out_norm", add_kept_(x, layer.linear("out", inner), kept[1]))


def activation(forward: FeedForward, x: Tensor) -> Tensor:
    """Apply the activation function between the two projections of `forward`; it may overwrite `x`."""
    # torch's gelu and swish are the same functions as RecBole's, but compute in one pass.
    function = forward.intermediate_act_fn
    if function == forward.gelu:
        if torch.is_grad_enabled():  # the backward pass reads `x`
            return functional.gelu(x)
        torch.ops.aten.gelu_(x)
        return x
    if function == forward.swish:
        return functional.silu(x)
    activated: Tensor = function(x)
    return activated
