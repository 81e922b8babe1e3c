"""Several SASRecFs or SASRecs of the same shapes as one model, whose parameters have a leading trial axis.

The trials' own models remain usable: their parameters become views of the stacked ones, so that the
optimiser, the validation and the checkpoint of one trial work as if it trained alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from sasrecf_tune.engine.fast.dropout import DropoutRates
from sasrecf_tune.engine.fast.length_groups import Budget, Group, group_bounds, to_device
from sasrecf_tune.engine.fast.model import FastModel
from sasrecf_tune.engine.fused.encoder import Encoder, flat_rows
from sasrecf_tune.engine.fused.loss import bpr_sums, cross_entropy_gradients


class FusedModel:
    """Trains batches with the same number of samples in each trial.

    Args:
        models: The trials' models, of the same shapes. Their parameters are moved to this model.
    """

    def __init__(self, models: Sequence[FastModel]) -> None:
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
        self._heads = [int(model.n_heads) for model in models]
        rates = [DropoutRates(model.hidden_dropout_prob, model.attn_dropout_prob) for model in models]
        self._encoder = Encoder(self._first, self._stacked, self._heads, rates)

    def without_dropout(self, which: Sequence[int]) -> Encoder:
        """Return an encoder without dropout for the trials `which`, with their current weights."""
        weights = {name: stacked.detach() for name, stacked in self._stacked.items()}
        if list(which) != list(range(len(self._models))):
            weights = {name: torch.stack([own[n] for n in which]) for name, own in weights.items()}
        heads = [self._heads[number] for number in which]
        return Encoder(self._first, weights, heads, [DropoutRates(0.0, 0.0)] * len(which))

    def backward_losses(self, batches: Sequence[Interaction]) -> Tensor:
        """Do `FastModel.backward_loss` of each model on its own batch; returns the losses, [trials]."""
        windows = [model._windows(batch) for model, batch in zip(self._models, batches, strict=True)]
        flat = windows[0][0]
        parts = self._plan([start for _, start, _ in windows], [length for _, _, length in windows])
        items = [part.items(flat) for part in parts]
        positive, negative = self._targets(batches)
        for stacked in self._stacked.values():
            stacked.grad = None
        weight = self._stacked["item_embedding.weight"]
        grad_items = torch.zeros_like(weight)
        weight.grad = grad_items
        ids, rows = self._encoder.table(items)
        masks = self._encoder.masks([model.next_dropout_step() for model in self._models])
        leaf = rows.detach().requires_grad_()
        samples = positive.shape[1]
        total = leaf.new_zeros(len(self._models))
        shape = (len(self._models), -1)
        for part, places in zip(parts, items, strict=True):
            rows_of = (places if ids is None else ids[places]).view(*shape, part.longest)
            output = self._encoder.output(rows_of, part.length.view(shape), leaf, part.rows, masks)
            of_part = part.rows.view(shape)
            target = positive.gather(1, of_part)
            if negative is None:
                losses, grad_output = cross_entropy_gradients(
                    output.detach(), weight.detach(), grad_items, target, 1 / samples
                )
                output.backward(grad_output)  # type: ignore[no-untyped-call]
            else:
                losses = self._bpr_sums(output, target, negative.gather(1, of_part))
                (losses.sum() / samples).backward()  # type: ignore[no-untyped-call]
            total += losses.detach()
        rows.backward(leaf.grad)  # type: ignore[no-untyped-call]
        for name, stacked in self._stacked.items():
            grads = [None] * len(self._own) if stacked.grad is None else stacked.grad.unbind()
            for own, grad in zip(self._own, grads, strict=True):
                own[name].grad = grad
        return total.div_(samples)

    def _plan(self, starts: list[Tensor], lengths: list[Tensor]) -> list[Group]:
        """Split the batches into groups for all trials, by the longest sample of each rank."""
        orders = torch.stack([torch.argsort(length, descending=True, stable=True) for length in lengths])
        ordered = torch.stack(lengths).gather(1, orders)
        start = torch.stack(starts).gather(1, orders)
        alone = [self._encoder.budget(heads) for heads in self._heads]
        # On a GPU the budget bounds memory and the number of kernels, which all trials share. On a CPU
        # another group costs each trial a pass over the gradients of all items.
        share = 1 if self._device.type == "cpu" else len(self._models)
        most_heads = max(budget.heads for budget in alone)
        shared = Budget(alone[0].elements // share, alone[0].overhead // share, alone[0].inner, most_heads)
        numbers = ordered.numpy(force=True)
        rows, start, length = (to_device(columns, self._device) for columns in (orders, start, ordered))
        return [
            Group(
                rows[:, low:high].reshape(-1),
                start[:, low:high].reshape(-1),
                length[:, low:high].reshape(-1),
                longest,
            )
            for low, high, longest in group_bounds(numbers.max(0), shared)
        ]

    def _targets(self, batches: Sequence[Interaction]) -> tuple[Tensor, Tensor | None]:
        model = self._first
        positive = to_device(torch.stack([batch[model.POS_ITEM_ID] for batch in batches]), self._device)
        if model.loss_type != "BPR":
            return positive, None
        return positive, to_device(torch.stack([batch[model.NEG_ITEM_ID] for batch in batches]), self._device)

    def _bpr_sums(self, output: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        weight = self._stacked["item_embedding.weight"]
        pair = flat_rows(positive, weight), flat_rows(negative, weight)
        return bpr_sums(output, *pair, self._first.loss_fct.gamma)
