"""RecBole's transformer layer, evaluated for all positions or for the last position only.

RecBole masks by adding -10000 to scores, this module by -inf. The results differ only for scores that are
10000 apart, in a model that has diverged.

Source: recbole/model/layers.py (TransformerLayer, MultiHeadAttention, FeedForward), whose modules hold the
weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from recbole.model.layers import FeedForward, TransformerLayer
from torch import Tensor, nn
from torch.nn import functional

from sasrecf_tune.engine.fast.dropout import DropoutRates, keep_scale
from sasrecf_tune.engine.fast.functions import add_kept_, causal_attention, last_attention, scaled, with_last

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


def step_weights(
    layers: Sequence[TransformerLayer], norm: nn.LayerNorm, rates: DropoutRates
) -> tuple[dict[str, Tensor], list[LayerWeights]]:
    """Return the weights of the LayerNorm of the embeddings, and of all layers, the last for `last_position`.

    Scores are divided by the root of the size of a head, and dropout is scaled, in the weights, which are
    smaller than the activations.
    """
    scale, divisors, factors = keep_scale(rates.hidden), [], []
    for layer in layers:
        attention, forward = layer.multi_head_attention, layer.feed_forward
        root = math.sqrt(attention.attention_head_size)
        divisors += [(each, root) for each in (attention.query.weight, attention.query.bias)]
        factors += [(attention.dense.weight, keep_scale(rates.attention) * scale)]
        factors += [(each, scale) for each in (attention.dense.bias, *forward.dense_2.parameters())]
    made = scaled(divisors, [*factors, (norm.weight, scale), (norm.bias, scale)])
    queries, others = iter(made[: len(divisors)]), iter(made[len(divisors) :])
    of_layers = [
        _layer_weights(layer, (next(queries), next(queries)), others, layer is layers[-1]) for layer in layers
    ]
    return {"weight": next(others), "bias": next(others)}, of_layers


def _layer_weights(
    layer: TransformerLayer, query: tuple[Tensor, Tensor], others: Iterator[Tensor], last: bool
) -> LayerWeights:
    attention, forward = layer.multi_head_attention, layer.feed_forward
    heads, size = attention.num_attention_heads, attention.attention_head_size
    key, value = attention.key, attention.value
    if last:
        tensors = {
            "query.weight": query[0],
            "query.bias": query[1],
            "key": key.weight.view(heads, size, -1),
            "value": value.weight.view(heads, size, -1).transpose(1, 2),
            "value.bias": value.bias.view(heads, size),
        }
    else:
        tensors = {
            "projection.weight": torch.cat([query[0], key.weight, value.weight]),
            "projection.bias": torch.cat([query[1], key.bias, value.bias]),
        }
    names = "attended.weight", "attended.bias", "out.weight", "out.bias"
    tensors |= {name: next(others) for name in names}
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
    """Apply the activation function between the two projections of `forward`."""
    # torch's gelu and swish are the same functions as RecBole's, but compute in one pass.
    function = forward.intermediate_act_fn
    if function == forward.gelu:
        return functional.gelu(x)
    if function == forward.swish:
        return functional.silu(x)
    activated: Tensor = function(x)
    return activated
