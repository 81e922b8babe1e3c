"""The encoder of several SASRecFs or SASRecs of the same shapes: fast/model.py with a leading trial axis."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor
from torch.nn import functional

from sasrecf_tune.engine.fast.attention import activation
from sasrecf_tune.engine.fast.dropout import DropoutRates, StepMasks, TrialStep, keep_scale
from sasrecf_tune.engine.fast.functions import kept_
from sasrecf_tune.engine.fast.item_table import choose_items
from sasrecf_tune.engine.fast.length_groups import Budget, budget_for, make_groups, to_device
from sasrecf_tune.engine.fast.model import FastModel
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
_LAYER = "trm_encoder.layer.{}."
_PARTS = "weight", "bias"


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
        self._make_factors(rates)

    def outputs(self, flat: Tensor, start: Tensor, length: Tensor) -> Tensor:
        """Return the outputs without dropout, [trials, batch, hidden], for the same histories in all trials.

        `flat`, `start` and `length` are as in `FastModel._windows`.
        """
        heads = max(group.heads for group in self.head_groups)
        alone = self.budget(heads)
        # A group has its samples once for each trial.
        elements, overhead = alone.elements // self.trials, alone.overhead // self.trials
        groups = make_groups(start, length, Budget(elements, overhead, alone.inner, alone.heads), self.device)
        items = [group.items(flat) for group in groups]
        ids, rows = self.table(items)
        masks = self.masks([TrialStep(0, 0, DropoutRates(0.0, 0.0))] * self.trials)
        self.scale_weights()
        outputs = []
        for group, places in zip(groups, items, strict=True):
            rows_of = places if ids is None else ids[places]
            lengths = group.length.expand(self.trials, -1)
            outputs.append(self.output(rows_of.expand(self.trials, -1, -1), lengths, rows, lengths, masks))
        ordered = torch.cat([group.rows for group in groups])
        return torch.cat(outputs, dim=1)[:, torch.argsort(ordered)]

    def budget(self, heads: int) -> Budget:
        """Return the budget of one trial with this number of heads."""
        first = self.first
        return budget_for(self.device, first.n_layers, first.hidden_size, first.inner_size, heads)

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

    def masks(self, steps: Sequence[TrialStep]) -> StepMasks:
        """Return the dropout masks of one step of each trial."""
        first = self.first
        longest = len(first.position_embedding.weight)
        return StepMasks(steps, first.n_layers, first.hidden_size, longest, self.device)

    def output(
        self, places: Tensor, length: Tensor, rows: Tensor, samples: Tensor, masks: StepMasks
    ) -> Tensor:
        """Return the outputs of a group, [trials, samples, hidden].

        Args:
            places: The histories as places in `rows`, [trials, samples, length].
            length: Their lengths, [trials, samples].
            rows: The item table, [trials, items, hidden].
            samples: The samples' places in the batches, [trials * samples].
            masks: The masks of the step.

        `scale_weights` must have been called.
        """
        get, longest = self.weights, places.shape[-1]
        hidden, attended = masks.draw(samples, longest, self.head_groups)
        x = flat_rows(places, rows)
        x = x + get["position_embedding.weight"][:, None, :longest]
        x = layer_norm(x, *self._norm, self.first.layer_norm_eps)
        x = kept_(x, None if hidden.embedding is None else hidden.embedding.view_as(x))
        of_layers = zip(zip(*attended, strict=True), hidden.layers, strict=True)
        *before, last = zip(self._layers, itertools.starmap(LayerMasks, of_layers), strict=True)
        for layer, kept in before:
            x = all_positions(layer, x, kept)
        return last_position(last[0], x, length, last[1])

    def _features(self, chosen: Tensor | None) -> list[Tensor]:
        weights = {
            name.removeprefix(_FEATURES): weight
            for name, weight in self.weights.items()
            if name.startswith(_FEATURES)
        }
        features: list[Tensor] = self.first.item_features.embed(weights, _rows_of_each, chosen)
        return features

    def scale_weights(self) -> tuple[Tensor, Tensor]:
        """Scale the weights for the groups that follow, all in one operation.

        Returns:
            The scaled weights, and a leaf of the same values, whose gradient the groups sum.
        """
        scaled = torch.cat([self.weights[name].reshape(-1) for name in self._sizes]) * self._factors
        leaf = scaled.detach().requires_grad_(scaled.requires_grad)
        parts = torch.split(leaf, list(self._sizes.values()))
        weights = dict(self.weights)
        for name, part in zip(self._sizes, parts, strict=True):
            weights[name] = part.view_as(weights[name])
        self._norm = weights["LayerNorm.weight"], weights["LayerNorm.bias"]
        self._layers = []
        for number, module in enumerate(self.first.trm_encoder.layer):
            prefix = _LAYER.format(number)
            own = {key.removeprefix(prefix): each for key, each in weights.items() if key.startswith(prefix)}
            act = partial(activation, module.feed_forward)
            self._layers.append(Layer(own, self.head_groups, act, self.first.layer_norm_eps))
        return scaled, leaf

    def _make_factors(self, rates: Sequence[DropoutRates]) -> None:
        """Note the sizes of the weights that are scaled, by name, and a factor for each number in them."""
        hidden = torch.tensor([keep_scale(own.hidden) for own in rates])
        attention = torch.tensor([keep_scale(own.attention) for own in rates])
        sizes = [self.first.hidden_size // group.heads for group in self.head_groups for _ in group.trials]
        query, ones = torch.tensor(sizes).rsqrt(), torch.ones(self.trials)
        factors = {"LayerNorm.weight": hidden, "LayerNorm.bias": hidden}
        for number in range(self.first.n_layers):
            prefix = _LAYER.format(number)
            factors |= {f"{prefix}multi_head_attention.query.{part}": query for part in _PARTS}
            if number < self.first.n_layers - 1:
                # They are joined with the queries, and the gradients are parts of one tensor.
                joined = [f"{name}.{part}" for name in ("key", "value") for part in _PARTS]
                factors |= {f"{prefix}multi_head_attention.{name}": ones for name in joined}
            factors |= {
                f"{prefix}multi_head_attention.dense.weight": attention * hidden,
                f"{prefix}multi_head_attention.dense.bias": hidden,
                **{f"{prefix}feed_forward.dense_2.{part}": hidden for part in _PARTS},
            }
        self._sizes = {name: self.weights[name].numel() for name in factors}
        of_numbers = [
            each.repeat_interleave(self._sizes[name] // self.trials) for name, each in factors.items()
        ]
        self._factors = to_device(torch.cat(of_numbers), self.device)


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
    offset = _offsets(trials, count, rows.device).view(-1, *(1,) * (places.dim() - 1))
    return functional.embedding(places + offset, rows.reshape(-1, hidden))


@lru_cache(maxsize=64)
def _offsets(trials: int, count: int, device: torch.device) -> Tensor:
    return torch.arange(trials, device=device) * count


def _rows_of_each(tables: Tensor, places: Tensor) -> Tensor:
    """Return the same places' rows of each trial."""
    return flat_rows(places.expand(len(tables), *places.shape), tables)
