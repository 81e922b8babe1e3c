"""The mean of the scores of several models of one architecture.

The mean of products is the product of longer vectors: the outputs of all models side by side, divided by
their number, with the item embeddings of all models side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor


class MeanModel(torch.nn.Module):
    """Averages the scores of `models`, those of either engine.

    Attributes:
        item_embedding: `weight` has the vectors that outputs are multiplied with, [items, models * hidden].
        n_items: Number of items, the padding included.
    """

    def __init__(self, models: Sequence[Any]) -> None:
        super().__init__()
        self._models = torch.nn.ModuleList(models)
        vectors = torch.cat([model.item_embedding.weight.detach() for model in models], dim=1)
        self.item_embedding = SimpleNamespace(weight=vectors)
        self.n_items: int = models[0].n_items

    def project(self, ids: Tensor | None) -> Tensor:
        """Return the inputs of all models for items `ids`, [items, models * hidden]."""
        return torch.cat([model.project(ids) for model in self._all], dim=-1)

    def outputs(self, interaction: Interaction, inputs: Tensor | None = None) -> Tensor:
        """Return the outputs for the histories of samples, [samples, models * hidden].

        Args:
            inputs: `project` of all items, if it is known.
        """
        parts = [None] * len(self._all) if inputs is None else self._split(inputs)
        outputs = [model.outputs(interaction, part) for model, part in zip(self._all, parts, strict=True)]
        return self._joined(outputs)

    def outputs_from(self, inputs: Tensor, flat: Tensor, start: Tensor, length: Tensor) -> Tensor:
        """Return the outputs, [samples, models * hidden], for histories of `flat`; as `FastModel` does."""
        parts = zip(self._all, self._split(inputs), strict=True)
        return self._joined([model.outputs_from(part, flat, start, length) for model, part in parts])

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Return the scores of all items, as RecBole's models do."""
        return self._mean(model.full_sort_predict(interaction) for model in self._all)

    def predict(self, interaction: Interaction) -> Tensor:
        """Return the scores of the samples' items, as RecBole's models do."""
        return self._mean(model.predict(interaction) for model in self._all)

    @property
    def _all(self) -> list[Any]:
        return list(self._models)

    def _split(self, inputs: Tensor) -> Sequence[Tensor]:
        # Views: rows are taken from them, and a copy would be of all items, for each batch of users.
        return inputs.chunk(len(self._models), dim=-1)

    def _joined(self, outputs: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(outputs), dim=-1) / len(self._models)

    def _mean(self, scores: Iterator[Tensor]) -> Tensor:
        total = next(scores)
        for other in scores:  # [users, items] each: one is in memory beside the sum
            total += other
        return total / len(self._models)
