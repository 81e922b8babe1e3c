"""What several SASRecFs or SASRecs of the same shapes make of histories: model.py with a trial axis in front.

N trials, B samples of each, L positions, H hidden size.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn import functional

from sasrecf_tune.engine.fast.attention import Rates, activation
from sasrecf_tune.engine.fast.dropout import inverse_keep, masked
from sasrecf_tune.engine.fast.length_groups import Budget, budget_for, make_groups
from sasrecf_tune.engine.fast.model import Fast, choose_items
from sasrecf_tune.engine.fused.dropout_masks import Blocks
from sasrecf_tune.engine.fused.layers import (
    Layer,
    LayerMasks,
    Run,
    all_positions,
    last_position,
    layer_norm,
    linear,
)

_FEATURES = "feature_embed_layer."


class Encoder:
    """Computes with `weights` [N, ...], by the parameters' names in `first`, which has all trials' shapes.

    `heads` and `rates` are each trial's.
    """

    def __init__(
        self, first: Fast, weights: Mapping[str, Tensor], heads: Sequence[int], rates: Sequence[Rates]
    ) -> None:
        self.first, self.weights = first, weights
        self.trials = len(heads)
        self.device = first.item_embedding.weight.device
        self.runs = runs(heads)
        self._layers = self._make_layers(rates)

    def outputs(self, flat: Tensor, start: Tensor, length: Tensor) -> Tensor:
        """Each trial's output, without dropout, for the same windows of `flat`: [N, B, H]."""
        alone = budget_for(self.device, self.first.inner_size, max(run.heads for run in self.runs))
        # A group holds its samples once for each trial.
        elements, overhead = alone.elements // self.trials, alone.overhead // self.trials
        groups = make_groups(start, length, Budget(elements, overhead, alone.inner, alone.heads), self.device)
        items = [group.items(flat) for group in groups]
        ids, rows = self.table(items)
        of_layer: list[Blocks] = [[None] * len(self.runs), [None], [None]]
        no_masks: list[Blocks] = [[None], *of_layer * len(self._layers)]
        found = []
        for group, places in zip(groups, items, strict=True):
            own = places if ids is None else ids[places]
            lengths = group.length.expand(self.trials, -1)
            found.append(self.output(own.expand(self.trials, -1, -1), lengths, rows, no_masks))
        ordered = torch.cat([group.rows for group in groups])
        return torch.cat(found, dim=1)[:, torch.argsort(ordered)]

    def table(self, items: list[Tensor]) -> tuple[Tensor | None, Tensor]:
        """See model._Table; `rows` [N, n, H] of the items that occur in any trial."""
        chosen, ids = choose_items(items, self.first.n_items, self.device)
        # No gradient reaches the row of the padding, which nothing sees: there is none to keep from it.
        weight = self.weights["item_embedding.weight"]
        own = weight if ids is None else weight.index_select(1, chosen)
        get = self.weights
        if "concat_layer.weight" not in get:  # a SASRec
            return ids, own
        parts = [own, self._features(chosen)]
        return ids, linear(torch.cat(parts, dim=-1), get["concat_layer.weight"], get["concat_layer.bias"])

    def output(self, places: Tensor, length: Tensor, rows: Tensor, drawn: Sequence[Blocks]) -> Tensor:
        """See Fast._group_output; `places` [N, B, L] in `rows` [N, n, H], `length` [N, B]: [N, B, H]."""
        get, first = self.weights, self.first
        x = flat_rows(places, rows)
        x = x + get["position_embedding.weight"][:, None, : places.shape[-1]]
        x = layer_norm(x, get["LayerNorm.weight"], get["LayerNorm.bias"], first.layer_norm_eps)
        (embedding,), *rest = drawn
        if embedding is not None:
            x = masked(x, embedding) * self._layers[0].kept_hidden[..., None]
        of_layer = [
            LayerMasks(attention, *after_attention, *after_forward)
            for attention, after_attention, after_forward in zip(*[iter(rest)] * 3, strict=True)
        ]
        *before, last = zip(self._layers, of_layer, strict=True)
        for layer, masks in before:
            x = all_positions(layer, x, masks)
        return last_position(last[0], x, length, last[1])

    def _features(self, ids: Tensor) -> Tensor:
        layer = self.first.feature_embed_layer

        def embedded(weights: dict[str, Tensor]) -> Tensor:
            tables = functional_call(layer, weights, (None, ids[None]))
            parts = [table["item"] for table in tables if table["item"] is not None]
            return torch.cat([part.reshape(len(ids), -1) for part in parts], dim=-1)

        weights = {
            name.removeprefix(_FEATURES): weight
            for name, weight in self.weights.items()
            if name.startswith(_FEATURES)
        }
        found: Tensor = vmap(embedded)(weights)
        return found

    def _make_layers(self, rates: Sequence[Rates]) -> list[Layer]:
        def factors(probabilities: list[float]) -> Tensor:
            kept = [inverse_keep(p) for p in probabilities]
            return torch.tensor(kept, device=self.device)[:, None, None]

        hidden = factors([own.hidden for own in rates])
        attention = factors([own.attention for own in rates])
        found = []
        for number, module in enumerate(self.first.trm_encoder.layer):
            prefix = f"trm_encoder.layer.{number}."
            weights = {
                name.removeprefix(prefix): weight
                for name, weight in self.weights.items()
                if name.startswith(prefix)
            }
            function = partial(activation, module.feed_forward)
            found.append(Layer(weights, self.runs, function, self.first.layer_norm_eps, hidden, attention))
        return found


def runs(heads: Sequence[int]) -> list[Run]:
    """The neighbours with the same number of `heads`."""
    found: list[Run] = []
    for count, trials in itertools.groupby(heads):
        first = found[-1].past if found else 0
        found.append(Run(first, first + len(list(trials)), count))
    return found


def flat_rows(places: Tensor, rows: Tensor) -> Tensor:
    """Of each trial: the `rows` [N, n, H] at `places` [N, ...]: [N, ..., H]."""
    trials, count, hidden = rows.shape
    offset = torch.arange(trials, device=rows.device).view(-1, *(1,) * (places.dim() - 1)) * count
    return functional.embedding(places + offset, rows.reshape(-1, hidden))
