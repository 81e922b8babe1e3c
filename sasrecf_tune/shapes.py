"""Which trials have the same shapes, so that they can train together as one model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# RecBole's keys that must be equal; all others may be each trial's own.
COMMON = (
    "model",
    "n_layers",
    "hidden_size",
    "inner_size",
    "hidden_act",
    "layer_norm_eps",
    "selected_features",
    "pooling_mode",
    "loss_type",
    "MAX_ITEM_LIST_LENGTH",
    "train_batch_size",
    "train_neg_sample_args",
)


def shape(config: Mapping[str, Any]) -> str:
    """Equal for configurations of equal shapes; a key that is missing has one value for all."""
    return repr([config.get(key) for key in COMMON])
