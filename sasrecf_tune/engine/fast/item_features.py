"""Embeds the features of items as RecBole's layer does, to the last bit, without its copies to the device.

RecBole makes a few constants anew in each call, such as the offsets of columns in a table. A GPU's host waits
for each of these copies. Here everything that does not depend on weights is computed once.

Source: recbole/model/layers.py (FeatureSeqEmbLayer, FMEmbedding, FLEmbedding).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from recbole.model.layers import FeatureSeqEmbLayer
from torch import Tensor

from sasrecf_tune.engine.fast.length_groups import to_device

# Returns the rows of a table of weights, [..., rows, hidden], at places: [..., *places, hidden].
Lookup = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class _TokenSequence:
    """A column of several tokens for each item.

    Attributes:
        table: The name of its weights.
        places: Rows of the table, [items, tokens]; 0 is padding.
        is_token: 1.0 for a token, 0.0 for padding, [items, tokens, 1].
        padding: 0.0 for a token, 1e9 for padding, [items, tokens, 1].
        count: Number of tokens, plus RecBole's epsilon, [items, 1].
    """

    table: str
    places: Tensor
    is_token: Tensor
    padding: Tensor
    count: Tensor

    def pool(self, embedded: Tensor, mode: str, items: Tensor | None) -> Tensor:
        """Return the mean, sum or max, [..., items, hidden], of [..., items, tokens, hidden]."""
        if mode == "max":
            # Not amax, whose gradient is another one for equal values.
            return torch.max(embedded - _of(self.padding, items), dim=-2).values
        total = torch.sum(embedded * _of(self.is_token, items), dim=-2)
        return total if mode == "sum" else torch.div(total, _of(self.count, items))


class ItemFeatures:
    """The feature columns of all items on a device.

    Args:
        layer: RecBole's layer, which has the columns and the weights.
        device: Where to embed.
    """

    def __init__(self, layer: FeatureSeqEmbLayer, device: torch.device) -> None:
        self.device = device
        self._pooling: str = layer.pooling_mode
        columns = layer.item_feat
        self._tokens: Tensor | None = None
        if names := layer.token_field_names["item"]:
            offsets = torch.from_numpy(layer.token_field_offsets["item"])
            places = torch.stack([columns[name] for name in names], dim=-1)
            self._tokens = places.to(device) + to_device(offsets, device)
        self._sequences = [
            _token_sequence(f"token_seq_embedding_table.item.{number}.weight", columns[name].to(device))
            for number, name in enumerate(layer.token_seq_field_names["item"])
        ]
        self._numbers: tuple[Tensor, Tensor] | None = None
        if names := layer.float_field_names["item"]:  # one: see inputs/feature_columns.py
            value, place = columns[names[0]].to(device).split(1, dim=-1)
            self._numbers = value[..., None], place.long()

    def embed(self, weights: Mapping[str, Tensor], lookup: Lookup, items: Tensor | None) -> list[Tensor]:
        """Return the embeddings in RecBole's order, each [..., items, columns * hidden].

        Args:
            weights: By the names of the layer's parameters, [..., rows, hidden].
            lookup: Returns rows of them.
            items: Which items; None for all.
        """
        parts = []
        if self._tokens is not None:
            table = weights["token_embedding_table.item.embedding.weight"]
            parts.append(lookup(table, _of(self._tokens, items)).flatten(-2))
        for column in self._sequences:
            embedded = lookup(weights[column.table], _of(column.places, items))
            parts.append(column.pool(embedded, self._pooling, items))
        if self._numbers is not None:
            value, place = (_of(part, items) for part in self._numbers)
            table = weights["float_embedding_table.item.embedding.weight"]
            parts.append((value * lookup(table, place)).flatten(-2))
        return parts


def _of(rows: Tensor, items: Tensor | None) -> Tensor:
    return rows if items is None else rows[items]


def _token_sequence(table: str, places: Tensor) -> _TokenSequence:
    is_token = (places != 0).float()
    # RecBole's epsilon is a float32, as the counts are.
    count = is_token.sum(-1, keepdim=True) + torch.full((1,), 1e-8, device=places.device)
    return _TokenSequence(table, places, is_token[..., None], ((1 - is_token) * 1e9)[..., None], count)
