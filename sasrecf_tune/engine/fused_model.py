"""Several SASRecFs or SASRecs of the same shapes as one model with a trial axis in front of each parameter.

The trials' own models stay what they are: their parameters become views of the stacked ones, so that an
optimiser, a validation or a checkpoint of one trial works as if it were alone. N trials, B samples of each,
L positions, H hidden size.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from recbole.data.interaction import Interaction
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn import functional

from sasrecf_tune.engine.attention import Rates, activation
from sasrecf_tune.engine.dropout import inverse_keep, masked
from sasrecf_tune.engine.fused_layers import (
    Layer,
    LayerMasks,
    Run,
    all_positions,
    last_position,
    layer_norm,
    linear,
)
from sasrecf_tune.engine.fused_loss import bpr_sums, cross_entropy_sums
from sasrecf_tune.engine.fused_masks import Blocks, Dropping, StepMasks
from sasrecf_tune.engine.groups import Budget, Group, budget_for, cut
from sasrecf_tune.engine.model import Fast, choose_items
from sasrecf_tune.random_streams import Streams

_FEATURES = "feature_embed_layer."


@dataclass(frozen=True)
class _Part:
    """Samples `low` to `high` by length of each trial's batch; `group` holds trial after trial, [N * B]."""

    low: int
    high: int
    group: Group


class FusedModel:
    """`models` of one shape, whose parameters it moves into its own; `streams` are the trials' generators.

    All trials train a batch of the same number of samples in each step.
    """

    def __init__(self, models: Sequence[Fast], streams: Sequence[Streams]) -> None:
        self._models = models
        self._first = models[0]
        self._device = self._first.item_embedding.weight.device
        self._own = [dict(model.named_parameters()) for model in models]
        self._stacked: dict[str, Tensor] = {}
        for name in self._own[0]:
            stacked = torch.stack([own[name].detach() for own in self._own])
            for own, view in zip(self._own, stacked, strict=True):
                own[name].data = view
            self._stacked[name] = stacked.requires_grad_()
        self._trials = [
            _dropping(model, own, self._device) for model, own in zip(models, streams, strict=True)
        ]
        self._runs = _runs([trial.heads for trial in self._trials])
        self._layers = self._make_layers()

    def backward_losses(self, batches: Sequence[Interaction]) -> Tensor:
        """Fast.backward_loss of each model on its own batch: [N]."""
        windows = [model._windows(batch) for model, batch in zip(self._models, batches, strict=True)]
        flat = windows[0][0]
        parts, masks = self._plan([start for _, start, _ in windows], [length for _, _, length in windows])
        items = [part.group.items(flat) for part in parts]
        positive, negative = self._targets(batches)
        for stacked in self._stacked.values():
            stacked.grad = None
        ids, rows = self._table(items)
        leaf = rows.detach().requires_grad_()
        samples = positive.shape[1]
        total = leaf.new_zeros(len(self._models))
        for part, places in zip(parts, items, strict=True):
            drawn = masks.group(part.low, part.high, part.group.longest)
            output = self._output(part.group, places if ids is None else ids[places], leaf, drawn)
            losses = self._losses(output, part.group, positive, negative) / samples
            losses.sum().backward()  # type: ignore[no-untyped-call]
            total += losses.detach()
        rows.backward(leaf.grad)  # type: ignore[no-untyped-call]
        for name, stacked in self._stacked.items():
            grads = [None] * len(self._own) if stacked.grad is None else stacked.grad.unbind()
            for own, grad in zip(self._own, grads, strict=True):
                own[name].grad = grad
        return total

    def _plan(self, starts: list[Tensor], lengths: list[Tensor]) -> tuple[list[_Part], StepMasks]:
        """Groups that suit all trials: of each rank by length the longest sample counts."""
        orders = torch.stack([torch.argsort(length, descending=True, stable=True) for length in lengths])
        ordered = torch.stack(lengths).gather(1, orders)
        start = torch.stack(starts).gather(1, orders)
        alone = [trial.budget for trial in self._trials]
        # A GPU's bounds memory, and counts the launches of kernels, which all trials share. On a CPU one more
        # group costs each trial a pass over the gradients of all items.
        share = 1 if self._device.type == "cpu" else len(self._models)
        most_heads = max(budget.heads for budget in alone)
        shared = Budget(alone[0].elements // share, alone[0].overhead // share, alone[0].inner, most_heads)
        numbers = ordered.numpy(force=True)
        rows, start, length = orders.to(self._device), start.to(self._device), ordered.to(self._device)
        parts = [
            _Part(
                low,
                high,
                Group(
                    rows[:, low:high].reshape(-1),
                    start[:, low:high].reshape(-1),
                    length[:, low:high].reshape(-1),
                    longest,
                ),
            )
            for low, high, longest in cut(numbers.max(0), shared)
        ]
        layers, hidden = self._first.n_layers, self._first.hidden_size
        return parts, StepMasks(self._trials, self._runs, numbers, layers, hidden, self._device)

    def _targets(self, batches: Sequence[Interaction]) -> tuple[Tensor, Tensor | None]:
        model = self._first
        positive = torch.stack([batch[model.POS_ITEM_ID] for batch in batches]).to(self._device)
        if model.loss_type != "BPR":
            return positive, None
        return positive, torch.stack([batch[model.NEG_ITEM_ID] for batch in batches]).to(self._device)

    def _table(self, items: list[Tensor]) -> tuple[Tensor | None, Tensor]:
        """See model._Table; `rows` [N, n, H] of the items that occur in any trial."""
        chosen, ids = choose_items(items, self._first.n_items, self._device)
        # No gradient reaches the row of the padding, which nothing sees: there is none to keep from it.
        weight = self._stacked["item_embedding.weight"]
        own = weight if ids is None else weight.index_select(1, chosen)
        get = self._stacked
        if "concat_layer.weight" not in get:  # a SASRec
            return ids, own
        parts = [own, self._features(chosen)]
        return ids, linear(torch.cat(parts, dim=-1), get["concat_layer.weight"], get["concat_layer.bias"])

    def _features(self, ids: Tensor) -> Tensor:
        layer = self._first.feature_embed_layer

        def embedded(weights: dict[str, Tensor]) -> Tensor:
            tables = functional_call(layer, weights, (None, ids[None]))
            parts = [table["item"] for table in tables if table["item"] is not None]
            return torch.cat([part.reshape(len(ids), -1) for part in parts], dim=-1)

        weights = {
            name.removeprefix(_FEATURES): weight
            for name, weight in self._stacked.items()
            if name.startswith(_FEATURES)
        }
        found: Tensor = vmap(embedded)(weights)
        return found

    def _output(self, group: Group, places: Tensor, rows: Tensor, drawn: list[Blocks]) -> Tensor:
        """See Fast._group_output; `places` [N * B, L] in `rows` [N, n, H]: [N, B, H]."""
        get, first = self._stacked, self._first
        trials = len(self._models)
        x = _flat_rows(places.view(trials, -1, group.longest), rows)
        x = x + get["position_embedding.weight"][:, None, : group.longest]
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
        return last_position(last[0], x, group.length.view(trials, -1), last[1])

    def _losses(self, output: Tensor, group: Group, positive: Tensor, negative: Tensor | None) -> Tensor:
        weight = self._stacked["item_embedding.weight"]
        rows = group.rows.view(len(output), -1)
        target = positive.gather(1, rows)
        if negative is None:
            return cross_entropy_sums(output, weight, target)
        pair = _flat_rows(target, weight), _flat_rows(negative.gather(1, rows), weight)
        return bpr_sums(output, *pair, self._first.loss_fct.gamma)

    def _make_layers(self) -> list[Layer]:
        def factors(rates: list[float]) -> Tensor:
            return torch.tensor([inverse_keep(rate) for rate in rates], device=self._device)[:, None, None]

        hidden = factors([trial.rates.hidden for trial in self._trials])
        attention = factors([trial.rates.attention for trial in self._trials])
        found = []
        for number, module in enumerate(self._first.trm_encoder.layer):
            prefix = f"trm_encoder.layer.{number}."
            weights = {
                name.removeprefix(prefix): weight
                for name, weight in self._stacked.items()
                if name.startswith(prefix)
            }
            function = partial(activation, module.feed_forward)
            found.append(Layer(weights, self._runs, function, self._first.layer_norm_eps, hidden, attention))
        return found


def _dropping(model: Fast, streams: Streams, device: torch.device) -> Dropping:
    rates = Rates(model.hidden_dropout_prob, model.attn_dropout_prob)
    return Dropping(streams, rates, model.n_heads, budget_for(device, model.inner_size, model.n_heads))


def _runs(heads: Sequence[int]) -> list[Run]:
    found: list[Run] = []
    for count, trials in itertools.groupby(heads):
        first = found[-1].past if found else 0
        found.append(Run(first, first + len(list(trials)), count))
    return found


def _flat_rows(places: Tensor, rows: Tensor) -> Tensor:
    """Of each trial: the `rows` [N, n, H] at `places` [N, ...]: [N, ..., H]."""
    trials, count, hidden = rows.shape
    offset = torch.arange(trials, device=rows.device).view(-1, *(1,) * (places.dim() - 1)) * count
    return functional.embedding(places + offset, rows.reshape(-1, hidden))
