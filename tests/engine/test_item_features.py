"""The embeddings of item features against those of RecBole's own layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from sasrecf_tune.engine.fast.build import FAST
from sasrecf_tune.engine.recbole import Prepared, build, make_config, prepare
from sasrecf_tune.training.prepared_cache import PreparedCache, data_key
from tests.support.synthetic_data import base, data, muted

__all__ = ["data", "muted"]

PREPARED: PreparedCache[Prepared] = PreparedCache()
FEATURES = [["colour"], ["tags"], ["price"], ["price", "tags", "colour"]]


def model_of(data: Path, **changes: Any) -> Any:
    config = make_config(base(data) | changes)
    key = data_key(dict(config.final_config_dict))
    return build(config, PREPARED.get(key, lambda: prepare(config, FAST)), FAST).trainer.model


def theirs(model: Any, items: torch.Tensor) -> torch.Tensor:
    parts = [table["item"] for table in model.feature_embed_layer(None, items[None])]
    return torch.cat([part.reshape(len(items), -1) for part in parts if part is not None], dim=-1)


@pytest.mark.parametrize("pooling", ["mean", "sum", "max"])
@pytest.mark.parametrize("features", FEATURES, ids=str)
@pytest.mark.parametrize("some", [False, True])
def test_features_are_embedded_as_recbole_does_to_the_last_bit(
    data: Path, features: list[str], pooling: str, some: bool
) -> None:
    model = model_of(data, selected_features=features, pooling_mode=pooling)
    every = torch.arange(model.n_items)
    items = every[2::3].flip(0) if some else every
    weights = dict(model.feature_embed_layer.named_parameters())
    factor = torch.rand(len(items), model.hidden_size * len(features), generator=torch.manual_seed(0))

    def rows(table: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        return functional.embedding(places, table)

    found = torch.cat(model.item_features.embed(weights, rows, items if some else None), dim=-1)
    expected = theirs(model, items)
    assert torch.equal(found, expected)
    for each in zip(*(gradients(each * factor, weights) for each in (found, expected)), strict=True):
        assert torch.equal(*each)


def gradients(values: torch.Tensor, weights: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(values.sum(), list(weights.values()))
