"""The encoder of several SASRecFs or SASRecs of the same shapes: fast/model.py with a leading trial axis."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from sasrecf_tune.engine.fast.attention import DropoutRates, activation
from sasrecf_tune.engine.fast.dropout import apply_mask, keep_scale
from sasrecf_tune.engine.fast.item_table import choose_items
from sasrecf_tune.engine.fast.length_groups import Budget, budget_for, make_groups
from sasrecf_tune.engine.fast.model import FastModel
from sasrecf_tune.engine.fused.dropout_masks import MaskBlocks
from sasrecf_tune.engine.fused.layers import (
    HeadGroup,
    Layer,
    LayerMasks,
    all_positions,
    last_position,
    layer_norm,
    linear,
)

_FEATURES = "feature_embed_layer."


class Encoder:
    """Encodes histories.

    Args:
        first: A model with the shapes of all trials.
        weights: By the names of its parameters, [trials, ...].
        heads: Number of attention heads of each trial.
        rates: Dropout probabilities of each trial.
    """

    def __init__(
        self,
        first: FastModel,
        weights: Mapping[str, Tensor],
        heads: Sequence[int],
        rates: Sequence[DropoutRates],
    ) -> None:
        self.first, self.weights = first, weights
        self.trials = len(heads)
        self.device = first.item_embedding.weight.device
        self.head_groups = group_by_heads(heads)
        self._layers = self._make_layers(rates)

    def outputs(self, flat: Tensor, start: Tensor, length: Tensor) -> Tensor:
        """Return the outputs without dropout, [trials, batch, hidden], for the same histories in all trials.

        `flat`, `start` and `length` are as in `FastModel._windows`.
        """
        heads = max(group.heads for group in self.head_groups)
        alone = budget_for(self.device, self.first.inner_size, heads)
        # A group has its samples once for each trial.
        elements, overhead = alone.elements // self.trials, alone.overhead // self.trials
        groups = make_groups(start, length, Budget(elements, overhead, alone.inner, alone.heads), self.device)
        items = [group.items(flat) for group in groups]
        ids, rows = self.table(items)
        layer_masks: list[MaskBlocks] = [[None] * len(self.head_groups), [None], [None]]
        no_masks: list[MaskBlocks] = [[None], *layer_masks * len(self._layers)]
        outputs = []
        for group, places in zip(groups, items, strict=True):
            rows_of = places if ids is None else ids[places]
            lengths = group.length.expand(self.trials, -1)
            outputs.append(self.output(rows_of.expand(self.trials, -1, -1), lengths, rows, no_masks))
        ordered = torch.cat([group.rows for group in groups])
        return torch.cat(outputs, dim=1)[:, torch.argsort(ordered)]

    def table(self, items: list[Tensor]) -> tuple[Tensor | None, Tensor]:
        """Return `ids` and `rows`, [trials, items, hidden], as fast.model._ItemTable has them."""
        chosen, ids = choose_items(items, self.first.n_items, self.device)
        # No position attends to padding, so the gradient of its row is zero without padding_idx.
        weight = self.weights["item_embedding.weight"]
        embeddings = weight if chosen is None else weight.index_select(1, chosen)
        get = self.weights
        if "concat_layer.weight" not in get:  # a SASRec
            return ids, embeddings
        parts = [embeddings, *self._features(chosen)]
        return ids, linear(torch.cat(parts, dim=-1), get["concat_layer.weight"], get["concat_layer.bias"])

    def output(self, places: Tensor, length: Tensor, rows: Tensor, drawn: Sequence[MaskBlocks]) -> Tensor:
        """Return the outputs of a group, [trials, samples, hidden].

        Args:
            places: The histories as places in `rows`, [trials, samples, length].
            length: Their lengths, [trials, samples].
            rows: The item table, [trials, items, hidden].
            drawn: The masks of each kind (dropout_masks.py).
        """
        get, first = self.weights, self.first
        x = flat_rows(places, rows)
        x = x + get["position_embedding.weight"][:, None, : places.shape[-1]]
        x = layer_norm(x, get["LayerNorm.weight"], get["LayerNorm.bias"], first.layer_norm_eps)
        (embedding,), *rest = drawn
        if embedding is not None:
            x = apply_mask(x, embedding) * self._layers[0].scale_hidden[..., None]
        masks_of = [
            LayerMasks(attention, *after_attention, *after_forward)
            for attention, after_attention, after_forward in zip(*[iter(rest)] * 3, strict=True)
        ]
        *before, last = zip(self._layers, masks_of, strict=True)
        for layer, masks in before:
            x = all_positions(layer, x, masks)
        return last_position(last[0], x, length, last[1])

    def _features(self, chosen: Tensor | None) -> list[Tensor]:
        weights = {
            name.removeprefix(_FEATURES): weight
            for name, weight in self.weights.items()
            if name.startswith(_FEATURES)
        }
        features: list[Tensor] = self.first.item_features.embed(weights, _rows_of_each, chosen)
        return features

    def _make_layers(self, rates: Sequence[DropoutRates]) -> list[Layer]:
        def scales_of(probabilities: list[float]) -> Tensor:
            scales = [keep_scale(p) for p in probabilities]
            return torch.tensor(scales, device=self.device)[:, None, None]

        hidden = scales_of([own.hidden for own in rates])
        attention = scales_of([own.attention for own in rates])
        layers = []
        for number, module in enumerate(self.first.trm_encoder.layer):
            prefix = f"trm_encoder.layer.{number}."
            weights = {
                name.removeprefix(prefix): weight
                for name, weight in self.weights.items()
                if name.startswith(prefix)
            }
            function = partial(activation, module.feed_forward)
            layers.append(
                Layer(weights, self.head_groups, function, self.first.layer_norm_eps, hidden, attention)
            )
        return layers


def group_by_heads(heads: Sequence[int]) -> list[HeadGroup]:
    """Group adjacent trials with the same number of heads."""
    groups: list[HeadGroup] = []
    for count, trials in itertools.groupby(heads):
        first = groups[-1].end if groups else 0
        groups.append(HeadGroup(first, first + len(list(trials)), count))
    return groups


def flat_rows(places: Tensor, rows: Tensor) -> Tensor:
    """Return each trial's rows, [trials, ..., hidden], at `places`, [trials, ...]."""
    trials, count, hidden = rows.shape
    offset = torch.arange(trials, device=rows.device).view(-1, *(1,) * (places.dim() - 1)) * count
    return functional.embedding(places + offset, rows.reshape(-1, hidden))


def _rows_of_each(tables: Tensor, places: Tensor) -> Tensor:
    """Return the same places' rows of each trial."""
    return flat_rows(places.expand(len(tables), *places.shape), tables)
