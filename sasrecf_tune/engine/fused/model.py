"""Several SASRecFs or SASRecs of the same shapes as one model, whose parameters have a leading trial axis.

The trials' own models remain usable: their parameters become views of the stacked ones, so that the
optimiser, the validation and the checkpoint of one trial work as if it trained alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from sasrecf_tune.engine.fast.batches import Batch, sort_batch
from sasrecf_tune.engine.fast.dropout import DropoutRates
from sasrecf_tune.engine.fast.length_groups import Budget
from sasrecf_tune.engine.fast.loss import sum_in_order
from sasrecf_tune.engine.fast.model import FastModel
from sasrecf_tune.engine.fused.encoder import Encoder, flat_rows
from sasrecf_tune.engine.fused.loss import bpr_sums, cross_entropy_gradients
from sasrecf_tune.engine.fused.optimizer import StackedAdam


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

    def backward_losses(self, samples: Sequence[Interaction] | Batch) -> Tensor:
        """Do `FastModel.backward_loss` of each model on its own batch; returns the losses, [trials]."""
        flat, batch = (self._first.flat_items, samples) if isinstance(samples, Batch) else self._sort(samples)
        groups = batch.groups(self._budget())
        items = [group.items(flat) for group in groups]
        for stacked in self._stacked.values():
            stacked.grad = None
        weight = self._stacked["item_embedding.weight"]
        grad_items = torch.zeros_like(weight)
        weight.grad = grad_items
        ids, rows = self._encoder.table(items)
        masks = self._encoder.masks([model.next_dropout_step() for model in self._models])
        scaled, leaf_of_scaled = self._encoder.scale_weights()
        leaf = rows.detach().requires_grad_()
        count = batch.rows.shape[1]
        losses = []
        shape = (len(self._models), -1)
        for group, places in zip(groups, items, strict=True):
            rows_of = (places if ids is None else ids[places]).view(*shape, group.longest)
            output = self._encoder.output(rows_of, group.length.view(shape), leaf, group.rows, masks)
            target = batch.positive[:, group.part]
            if batch.negative is None:
                loss, grad_output = cross_entropy_gradients(
                    output.detach(), weight.detach(), grad_items, target, 1 / count
                )
                output.backward(grad_output)  # type: ignore[no-untyped-call]
            else:
                loss = self._bpr_sums(output, target, batch.negative[:, group.part])
                (loss.sum() / count).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        torch.autograd.backward([rows, scaled], [leaf.grad, leaf_of_scaled.grad])
        return sum_in_order(losses) / count

    def give_gradients(self, trials: Sequence[int]) -> None:
        """Set the gradients of these trials' own parameters, views of the stacked ones."""
        for name, stacked in self._stacked.items():
            for trial in trials:
                self._own[trial][name].grad = None if stacked.grad is None else stacked.grad[trial]

    def stack_optimizers(self, optimizers: Sequence[torch.optim.Optimizer]) -> StackedAdam:
        """Return one optimiser for all trials; call it when they have gradients."""
        return StackedAdam(self._stacked, self._own, optimizers)

    def _sort(self, batches: Sequence[Interaction]) -> tuple[Tensor, Batch]:
        model = self._first
        windows = [model._windows(batch) for model, batch in zip(self._models, batches, strict=True)]
        names = [model.POS_ITEM_ID, *([model.NEG_ITEM_ID] if model.loss_type == "BPR" else [])]
        start, length = (torch.stack([window[n] for window in windows]) for n in (1, 2))
        positive, *negative = (torch.stack([batch[name] for batch in batches]) for name in names)
        return windows[0][0], sort_batch(start, length, positive, next(iter(negative), None), self._device)

    def _budget(self) -> Budget:
        """Return the budget of groups for all trials, by the longest sample of each rank."""
        # On a GPU the budget bounds memory and the number of kernels, which all trials share. On a CPU
        # another group costs each trial a pass over the gradients of all items.
        share = 1 if self._device.type == "cpu" else len(self._models)
        alone = self._encoder.budget(max(self._heads))
        return Budget(alone.elements // share, alone.overhead // share, alone.inner, alone.heads)

    def _bpr_sums(self, output: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        weight = self._stacked["item_embedding.weight"]
        pair = flat_rows(positive, weight), flat_rows(negative, weight)
        return bpr_sums(output, *pair, self._first.loss_fct.gamma)
