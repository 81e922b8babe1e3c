"""SASRecF and SASRec with RecBole's parameters and functions, computed with much less work.

    item table     the features of each item of a step are joined once, not at each position
    groups         samples of similar length are computed together (length_groups.py)
    last position  the last layer has one query per sample (attention.py)
    logits         the cross-entropy over all items is computed in chunks (loss.py)

Sources: recbole/model/sequential_recommender/sasrecf.py and sasrec.py. They differ only in the input of the
first layer: SASRec's is the item's embedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.model.sequential_recommender.sasrec import SASRec
from recbole.model.sequential_recommender.sasrecf import SASRecF
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from sasrecf_tune.engine.fast.attention import LayerWeights, all_positions, last_position, step_weights
from sasrecf_tune.engine.fast.batches import Batch, sort_batch
from sasrecf_tune.engine.fast.dataset import START, CompactDataset
from sasrecf_tune.engine.fast.dropout import DropoutRates, Heads, StepMasks, TrialStep
from sasrecf_tune.engine.fast.functions import kept_, take_rows
from sasrecf_tune.engine.fast.item_features import ItemFeatures
from sasrecf_tune.engine.fast.item_table import choose_items
from sasrecf_tune.engine.fast.length_groups import Budget, Group, budget_for, make_groups, to_device
from sasrecf_tune.engine.fast.loss import bpr_sum, cross_entropy_gradients, cross_entropy_sum, sum_in_order


class FastModel(SequentialRecommender):  # type: ignore[misc]  # recbole is untyped
    """A mixin for a RecBole model, which creates, initialises, saves and loads the parameters.

    It accepts the samples of a `CompactDataset` as well as RecBole's with padded histories.

    Attributes:
        dropout_step: The number of the next training step, which its dropout masks depend on.
    """

    def __init__(self, config: Any, dataset: CompactDataset) -> None:
        super().__init__(config, dataset)
        self.dropout_step = 0
        self._seed = config["seed"]
        items = getattr(dataset, "flat_items", torch.zeros(0, dtype=torch.int64))
        # Not persistent, so that a checkpoint has the same content as RecBole's.
        self.register_buffer("flat_items", items, persistent=False)

    def project(self, ids: Tensor | None) -> Tensor:
        """Return the input for items `ids`, all if None, before positions are added, [items, hidden]."""
        raise NotImplementedError

    def _embeddings(self, ids: Tensor | None) -> Tensor:
        # No position attends to padding, so the gradient of its row is zero without padding_idx.
        weight: Tensor = self.item_embedding.weight
        return weight if ids is None else functional.embedding(ids, weight)

    @override
    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        start = torch.arange(len(item_seq), device=item_seq.device) * item_seq.shape[1]
        return self._outputs(item_seq.reshape(-1), start, item_seq_len)

    @override
    def predict(self, interaction: Interaction) -> Tensor:
        flat, start, length = self._windows(interaction)
        # RecBole repeats a sample for each of its sampled items.
        windows, window = torch.unique(torch.stack([start, length]), dim=1, return_inverse=True)
        output, items = self._outputs(flat, *windows), self.item_embedding(interaction[self.ITEM_ID])
        return torch.mul(output[window], items).sum(-1)

    @override
    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        return torch.mm(self.outputs(interaction), self.item_embedding.weight.T)

    def outputs(self, interaction: Interaction, inputs: Tensor | None = None) -> Tensor:
        """Return the outputs for the histories of samples, [samples, hidden].

        Args:
            inputs: `project` of all items, if it is known.
        """
        windows = self._windows(interaction)
        return self._outputs(*windows) if inputs is None else self.outputs_from(inputs, *windows)

    @override
    def calculate_loss(self, interaction: Interaction) -> Tensor:
        # Differentiable as a whole; training uses `backward_loss`.
        batch, groups, items = self._step(interaction)
        table = _ItemTable(self, items)
        losses = []
        for group, output in self._group_outputs(self._prepare_step(), groups, items, table.ids, table.rows):
            target = batch.positive[group.part]
            if batch.negative is None:
                losses.append(cross_entropy_sum(output, self.item_embedding.weight, target))
            else:
                losses.append(self._bpr_sum(output, target, batch.negative[group.part]))
        return torch.stack(losses).sum() / len(batch.rows)

    def backward_loss(self, samples: Interaction | Batch) -> Tensor:
        """Return the mean loss of a batch, and add its gradients to the parameters' `grad`.

        Each group is computed forward and backward before the next one, so that only one group's activations
        are in memory.
        """
        batch, groups, items = self._step(samples)
        table = _ItemTable(self, items)
        leaf = table.rows.detach().requires_grad_()
        step = self._prepare_step()
        prepared = step.detach()
        count = len(batch.rows)
        losses = []
        for group, output in self._group_outputs(step, groups, items, table.ids, leaf):
            target = batch.positive[group.part]
            if batch.negative is None:
                loss, grad = cross_entropy_gradients(output.detach(), *self._logits(), target, 1 / count)
                output.backward(grad)  # type: ignore[no-untyped-call]
            else:
                loss = self._bpr_sum(output, target, batch.negative[group.part])
                (loss / count).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        prepared = [(table.rows, leaf), *prepared]
        reached = [(made, leaf.grad) for made, leaf in prepared if leaf.grad is not None]
        torch.autograd.backward([made for made, _ in reached], [grad for _, grad in reached])
        return sum_in_order(losses) / count

    def _logits(self) -> tuple[Tensor, Tensor]:
        """Return the item embeddings and their gradient so far."""
        weight = self.item_embedding.weight
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        return weight.detach(), weight.grad

    def _bpr_sum(self, output: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        pair = self.item_embedding(positive), self.item_embedding(negative)
        return bpr_sum(output, *pair, self.loss_fct.gamma)

    def next_dropout_step(self) -> TrialStep:
        """Return what the dropout masks of the next training step depend on."""
        rates = DropoutRates(0.0, 0.0)
        if self.training:
            rates = DropoutRates(self.hidden_dropout_prob, self.attn_dropout_prob)
            self.dropout_step += 1
        return TrialStep(self._seed, self.dropout_step, rates)

    def _prepare_step(self) -> _StepInputs:
        """Return what all groups of the next step use."""
        step, longest = self.next_dropout_step(), len(self.position_embedding.weight)
        device = self.item_embedding.weight.device
        norm, layers = step_weights(self.trm_encoder.layer, self.LayerNorm, step.rates)
        return _StepInputs(StepMasks([step], self.n_layers, self.hidden_size, longest, device), norm, layers)

    def _step(self, samples: Interaction | Batch) -> tuple[Batch, list[Group], list[Tensor]]:
        if isinstance(samples, Batch):
            flat, batch = self.flat_items, samples
        else:
            flat, start, length = self._windows(samples)
            negative = samples[self.NEG_ITEM_ID] if self.loss_type == "BPR" else None
            batch = sort_batch(start, length, samples[self.POS_ITEM_ID], negative, flat.device)
        groups = batch.groups(self._budget(flat.device))
        return batch, groups, [group.items(flat) for group in groups]

    def _budget(self, device: torch.device) -> Budget:
        return budget_for(device, self.n_layers, self.hidden_size, self.inner_size, self.n_heads)

    def _group_outputs(
        self,
        step: _StepInputs,
        groups: list[Group],
        items: list[Tensor],
        ids: Tensor | None,
        rows: Tensor,
    ) -> Iterator[tuple[Group, Tensor]]:
        for group, places in zip(groups, items, strict=True):
            yield group, self._group_output(step, group, places if ids is None else ids[places], rows)

    def _group_output(self, step: _StepInputs, group: Group, places: Tensor, rows: Tensor) -> Tensor:
        """Return the outputs, [samples, hidden], for `places`, [samples, length], in the item table."""
        hidden, (attended,) = step.masks.draw(group.rows, group.longest, [Heads(0, 1, self.n_heads)])
        x = take_rows(rows, places).add_(self.position_embedding.weight[: group.longest])
        x = functional.layer_norm(x, (self.hidden_size,), **step.norm, eps=self.layer_norm_eps)
        x = kept_(x, hidden.embedding)
        *before, last = zip(step.layers, attended, hidden.layers, strict=True)
        for layer, weights, states in before:
            x = all_positions(layer, x, weights, states)
        return last_position(last[0], x, group.length, *last[1:])

    def _outputs(self, flat: Tensor, start: Tensor, length: Tensor) -> Tensor:
        groups = make_groups(start, length, self._budget(flat.device), flat.device)
        items = [group.items(flat) for group in groups]
        table = _ItemTable(self, items)
        return self._encode(groups, items, table.ids, table.rows)

    def outputs_from(self, inputs: Tensor, flat: Tensor, start: Tensor, length: Tensor) -> Tensor:
        """Return the outputs, [samples, hidden], for histories of `flat`, given `project` of all items."""
        groups = make_groups(start, length, self._budget(flat.device), flat.device)
        return self._encode(groups, [group.items(flat) for group in groups], None, inputs)

    def _encode(self, groups: list[Group], items: list[Tensor], ids: Tensor | None, rows: Tensor) -> Tensor:
        outputs = [
            output for _, output in self._group_outputs(self._prepare_step(), groups, items, ids, rows)
        ]
        ordered = torch.cat([group.rows for group in groups])
        return torch.cat(outputs)[torch.argsort(ordered)]

    def _windows(self, interaction: Interaction) -> tuple[Tensor, Tensor, Tensor]:
        """Return a flat array of items, and the start and length of each sample's history in it."""
        length = interaction[self.ITEM_SEQ_LEN]
        if START in interaction:
            return self.flat_items, interaction[START], length
        padded = interaction[self.ITEM_SEQ]
        start = torch.arange(len(padded), device=padded.device) * padded.shape[1]
        return to_device(padded.reshape(-1), self.item_embedding.weight.device), start, length


@dataclass(frozen=True)
class _StepInputs:
    """What all groups of a step use; `norm` is the LayerNorm of the embeddings."""

    masks: StepMasks
    norm: dict[str, Tensor]
    layers: list[LayerWeights]

    def detach(self) -> list[tuple[Tensor, Tensor]]:
        """Replace the tensors that were computed by leaves, whose gradients the groups sum.

        Returns:
            Each of those tensors with its leaf.
        """
        replaced = []
        for tensors in (self.norm, *(layer.tensors for layer in self.layers)):
            for name, tensor in tensors.items():
                if tensor.grad_fn is not None:
                    tensors[name] = tensor.detach().requires_grad_()
                    replaced.append((tensor, tensors[name]))
        return replaced


class _ItemTable:
    """The projected inputs of the items of a step.

    Attributes:
        rows: One row for each chosen item, [chosen, hidden].
        ids: The row of each item, [items]; None if the row is the item's number.
    """

    def __init__(self, model: FastModel, items: list[Tensor]) -> None:
        chosen, self.ids = choose_items(items, model.n_items, model.item_embedding.weight.device)
        self.rows = model.project(chosen)


class FastSASRecF(FastModel, SASRecF):  # type: ignore[misc]  # recbole is untyped
    """SASRecF."""

    _features: ItemFeatures | None = None

    @property
    def item_features(self) -> ItemFeatures:
        """The features of all items, on the device of the weights."""
        device = self.item_embedding.weight.device
        if self._features is None or self._features.device != device:
            self._features = ItemFeatures(self.feature_embed_layer, device)
        return self._features

    @override
    def project(self, ids: Tensor | None) -> Tensor:
        weights = dict(self.feature_embed_layer.named_parameters())
        features = self.item_features.embed(weights, _rows, ids)
        projected: Tensor = self.concat_layer(torch.cat([self._embeddings(ids), *features], dim=-1))
        return projected


class FastSASRec(FastModel, SASRec):  # type: ignore[misc]  # recbole is untyped
    """SASRec."""

    @override
    def project(self, ids: Tensor | None) -> Tensor:
        return self._embeddings(ids)


def _rows(table: Tensor, places: Tensor) -> Tensor:
    return functional.embedding(places, table)


def fast_model(config: Any, dataset: CompactDataset) -> FastModel:
    """Create the model that `config` names."""
    models = {"SASRecF": FastSASRecF, "SASRec": FastSASRec}
    return models[config["model"]](config, dataset)
