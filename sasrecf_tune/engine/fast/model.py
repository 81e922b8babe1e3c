"""SASRecF and SASRec with RecBole's parameters and RecBole's functions, computed with far less work.

    item table     item and features are joined once for each item of a step, not for each position
    groups         samples of similar length go together, gradients are summed (groups.py)
    last position  the last layer has one query a sample (attention.py)
    logits         cross-entropy over all items in chunks (loss.py)

Sources: recbole/model/sequential_recommender/sasrecf.py and sasrec.py, which differ in the input of the
first layer alone: SASRec's is the item's embedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.model.sequential_recommender.sasrec import SASRec
from recbole.model.sequential_recommender.sasrecf import SASRecF
from torch import Tensor
from torch.nn import functional

from sasrecf_tune.engine.fast.attention import Rates, all_positions, last_position
from sasrecf_tune.engine.fast.dataset import START, CompactDataset
from sasrecf_tune.engine.fast.dropout import dropout
from sasrecf_tune.engine.fast.length_groups import Budget, Group, budget_for, make_groups, sent
from sasrecf_tune.engine.fast.loss import bpr_sum, cross_entropy_sum


class Fast(SequentialRecommender):  # type: ignore[misc]  # recbole is untyped
    """Mixed into a model of RecBole's, which builds, initialises, saves and loads it with its own names.

    Takes the samples of a `CompactDataset`, and also RecBole's own with padded histories.
    """

    def __init__(self, config: Any, dataset: CompactDataset) -> None:
        super().__init__(config, dataset)
        items = getattr(dataset, "flat_items", torch.zeros(0, dtype=torch.int64))
        # Not persistent: a checkpoint holds what RecBole's holds.
        self.register_buffer("flat_items", items, persistent=False)

    def project(self, ids: Tensor) -> Tensor:
        """The model's input before positions are added, for items `ids` [n]: [n, H]."""
        raise NotImplementedError

    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Output [B, H] at the last position of `item_seq` [B, L], right-padded with 0; lengths [B]."""
        start = torch.arange(len(item_seq), device=item_seq.device) * item_seq.shape[1]
        return self._outputs(item_seq.reshape(-1), start, item_seq_len)

    def predict(self, interaction: Interaction) -> Tensor:
        """Score of each sample's item: [B]."""
        flat, start, length = self._windows(interaction)
        # RecBole repeats a sample for each of its sampled items.
        windows, window = torch.unique(torch.stack([start, length]), dim=1, return_inverse=True)
        output, items = self._outputs(flat, *windows), self.item_embedding(interaction[self.ITEM_ID])
        return torch.mul(output[window], items).sum(-1)

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Scores of all items: [B, items]."""
        return torch.mm(self._encoded(interaction), self.item_embedding.weight.T)

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """The mean loss of a batch, as a graph of its own; `backward_loss` is what trains."""
        groups, items = self._step(interaction)
        table = _Table(self, items)
        losses = self._group_losses(interaction, groups, items, table.ids, table.rows)
        return torch.stack(list(losses)).sum()

    def backward_loss(self, interaction: Interaction) -> Tensor:
        """The mean loss of a batch, its gradients added to the parameters' `grad`; [].

        Each group is carried forward and backward before the next, so that the activations of one
        alone are in memory.
        """
        groups, items = self._step(interaction)
        table = _Table(self, items)
        leaf = table.rows.detach().requires_grad_()
        total = leaf.new_zeros(())
        for loss in self._group_losses(interaction, groups, items, table.ids, leaf):
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        table.rows.backward(leaf.grad)  # type: ignore[no-untyped-call]
        return total

    def _step(self, interaction: Interaction) -> tuple[list[Group], list[Tensor]]:
        flat, start, length = self._windows(interaction)
        groups = make_groups(start, length, self._budget(flat.device), flat.device)
        return groups, [group.items(flat) for group in groups]

    def _budget(self, device: torch.device) -> Budget:
        return budget_for(device, self.inner_size, self.n_heads)

    def _group_losses(
        self,
        interaction: Interaction,
        groups: list[Group],
        items: list[Tensor],
        ids: Tensor | None,
        rows: Tensor,
    ) -> Iterator[Tensor]:
        positive = sent(interaction[self.POS_ITEM_ID], rows.device)
        negative = sent(interaction[self.NEG_ITEM_ID], rows.device) if self.loss_type == "BPR" else None
        samples = len(positive)
        for group, group_items in zip(groups, items, strict=True):
            output = self._group_output(group, group_items if ids is None else ids[group_items], rows)
            target = positive[group.rows]
            if negative is None:
                loss = cross_entropy_sum(output, self.item_embedding.weight, target)
            else:
                pair = self.item_embedding(target), self.item_embedding(negative[group.rows])
                loss = bpr_sum(output, *pair, self.loss_fct.gamma)
            yield loss / samples

    def _group_output(self, group: Group, places: Tensor, rows: Tensor) -> Tensor:
        """`places` [B, L] in the item table `rows` [n, H]: [B, H]."""
        rates = Rates(self.hidden_dropout_prob, self.attn_dropout_prob) if self.training else Rates(0.0, 0.0)
        x = functional.embedding(places, rows) + self.position_embedding.weight[: group.longest]
        x = dropout(self.LayerNorm(x), rates.hidden)
        *before, last = self.trm_encoder.layer
        for layer in before:
            x = all_positions(layer, x, rates)
        return last_position(last, x, group.length, rates)

    def _encoded(self, interaction: Interaction) -> Tensor:
        return self._outputs(*self._windows(interaction))

    def _outputs(self, flat: Tensor, start: Tensor, length: Tensor) -> Tensor:
        groups = make_groups(start, length, self._budget(flat.device), flat.device)
        items = [group.items(flat) for group in groups]
        table = _Table(self, items)
        outputs = [
            self._group_output(group, places if table.ids is None else table.ids[places], table.rows)
            for group, places in zip(groups, items, strict=True)
        ]
        ordered = torch.cat([group.rows for group in groups])
        return torch.cat(outputs)[torch.argsort(ordered)]

    def _windows(self, interaction: Interaction) -> tuple[Tensor, Tensor, Tensor]:
        """A flat array of items, and where in it each sample's history begins and how long it is."""
        length = interaction[self.ITEM_SEQ_LEN]
        if START in interaction:
            return self.flat_items, interaction[START], length
        padded = interaction[self.ITEM_SEQ]
        start = torch.arange(len(padded), device=padded.device) * padded.shape[1]
        return sent(padded.reshape(-1), self.item_embedding.weight.device), start, length


# A catalogue this many times smaller than the positions of a step is computed whole.
_WHOLE = 8


class _Table:
    """The projected inputs of items: `rows` [n, H]; `ids` [items] are an item's row, None for the same."""

    def __init__(self, model: Fast, items: list[Tensor]) -> None:
        chosen, self.ids = choose_items(items, model.n_items, model.item_embedding.weight.device)
        self.rows = model.project(chosen)


def choose_items(items: list[Tensor], count: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Which of `count` items a step needs, and [items] the place of each among them, None for its own.

    The whole catalogue where most of it occurs anyway, else the items that occur. A GPU takes the whole:
    to learn which occur, the host would have to wait for it.
    """
    positions = sum(part.numel() for part in items)
    if device.type != "cpu" or positions >= _WHOLE * count:
        return torch.arange(count, device=device), None
    present = torch.zeros(count, dtype=torch.bool, device=device)
    for part in items:
        present[part.reshape(-1)] = True
    return present.nonzero().squeeze(-1), present.cumsum(0) - 1


class FastSASRecF(Fast, SASRecF):  # type: ignore[misc]  # recbole is untyped
    """A SASRecF."""

    def project(self, ids: Tensor) -> Tensor:
        """See `Fast`."""
        parts = [self.item_embedding(ids)]
        for embedding in self.feature_embed_layer(None, ids[None]):
            if embedding["item"] is not None:  # [1, n, features, H]
                parts.append(embedding["item"].reshape(len(ids), -1))
        projected: Tensor = self.concat_layer(torch.cat(parts, dim=-1))
        return projected


class FastSASRec(Fast, SASRec):  # type: ignore[misc]  # recbole is untyped
    """A SASRec."""

    def project(self, ids: Tensor) -> Tensor:
        """See `Fast`."""
        embedded: Tensor = self.item_embedding(ids)
        return embedded


def fast_model(config: Any, dataset: CompactDataset) -> Fast:
    """The model that `config` names."""
    models = {"SASRecF": FastSASRecF, "SASRec": FastSASRec}
    return models[config["model"]](config, dataset)
