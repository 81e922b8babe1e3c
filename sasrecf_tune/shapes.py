"""Which trials have the same shapes, so that they can train together as one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

# And to be validated together, these too.
_EVALUATION = ("eval_args", "metrics", "topk")


def shape(config: Mapping[str, Any]) -> str:
    """Equal for configurations of equal shapes; a key that is missing has one value for all."""
    return _values(config, COMMON)


def evaluation(config: Mapping[str, Any]) -> str:
    """Equal where the same is evaluated by the same metrics."""
    return _values(config, _EVALUATION)


def _values(config: Mapping[str, Any], keys: Sequence[str]) -> str:
    return repr([config.get(key) for key in keys])
