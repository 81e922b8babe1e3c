"""A trained model without its data set: built from its architecture, its weights and the item features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.utils import FeatureType
from torch import Tensor

from sasrecf_tune.engine.fast.model import FastModel, fast_model
from sasrecf_tune.storage.model_directory import Architecture, Feature

# Items whose inputs are computed at a time: sequence features need [items, values, hidden].
_ITEMS = 4096
_ITEM = "sasrecf_tune_item"  # no column of a data set


def item_features(dataset: Any, config: Any) -> tuple[tuple[Feature, ...], dict[str, Tensor]]:
    """Return the item features that a model of `config` reads, and their values by name, [items, ...]."""
    if config["model"] != "SASRecF":
        return (), {}
    table = dataset.get_item_feature()
    found = []
    for name in config["selected_features"]:
        kind = dataset.field2type[name]
        if kind is not FeatureType.FLOAT or name in (config["numerical_features"] or ()):
            found.append(Feature(name, kind.value, int(dataset.num(name))))
    return tuple(found), {each.name: table[each.name].contiguous() for each in found}


def scoring_model(
    name: str,
    architecture: Architecture,
    items: int,
    weights: Mapping[str, Tensor],
    features: Mapping[str, Tensor],
    device: torch.device,
) -> FastModel:
    """Build RecBole's model `name` for inference.

    Args:
        items: Number of items, the padding included.
        weights: RecBole's state_dict.
        features: The values of each feature, as `item_features` returns them.

    Raises:
        RuntimeError: The weights do not fit the architecture.
    """
    # On this device nothing is allocated or initialised.
    nowhere = torch.device("meta")
    selected = [each.name for each in architecture.features]
    config = _Settings(
        **{key: getattr(architecture, key) for key in ("hidden_size", "inner_size", "n_layers", "n_heads")},
        hidden_act=architecture.hidden_act,
        layer_norm_eps=architecture.layer_norm_eps,
        pooling_mode=architecture.pooling_mode,
        MAX_ITEM_LIST_LENGTH=architecture.longest,
        selected_features=selected,
        numerical_features=selected,
        model=name,
        device=nowhere,
        USER_ID_FIELD="user",
        ITEM_ID_FIELD=_ITEM,
        LIST_SUFFIX="_list",
        ITEM_LIST_LENGTH_FIELD="length",
        NEG_PREFIX="neg_",
        loss_type="CE",
        hidden_dropout_prob=0.0,
        attn_dropout_prob=0.0,
        initializer_range=0.02,
    )
    sizes = {each.name: each.size for each in architecture.features}
    dataset: Any = SimpleNamespace(
        config=config,
        field2type={each.name: FeatureType(each.kind) for each in architecture.features},
        num=lambda field: items if field == _ITEM else sizes[field],
        get_item_feature=lambda: Interaction(dict(features)),
    )
    with nowhere, _numpy_long():
        model = fast_model(config, dataset)
    model.load_state_dict(weights, assign=True)
    model.flat_items = torch.zeros(0, dtype=torch.int64)
    model.requires_grad_(False)
    if selected:
        layer = model.feature_embed_layer
        layer.device = device
        layer.item_feat = Interaction(dict(features)).to(device)
    model.to(device).eval()
    return model


@torch.no_grad()
def item_inputs(model: FastModel) -> Tensor:
    """Return the model's input for every item, before positions are added, [items, hidden]."""
    ids = torch.arange(model.n_items, device=model.item_embedding.weight.device)
    return torch.cat([model.project(part) for part in torch.split(ids, _ITEMS)])


class _Settings(dict[str, Any]):
    """RecBole's Config, as far as its models read it: a missing key is None."""

    def __missing__(self, key: str) -> None:
        return None


@contextmanager
def _numpy_long() -> Iterator[None]:
    """Give numpy the name that RecBole's layers read, and that its Config would set for good."""
    if "long" in vars(np):  # hasattr would warn
        yield
        return
    np.long = np.int_  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del np.long  # type: ignore[attr-defined]
