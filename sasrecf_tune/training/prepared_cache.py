"""Keeps prepared data in memory, once for each data configuration."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

# Keys of RecBole's configuration that do not affect the prepared data. All others are part of the cache's
# key: a missing one costs time, a wrong one would give wrong results.
_WITHOUT_EFFECT = frozenset(
    """
    hidden_size inner_size n_layers n_heads hidden_dropout_prob attn_dropout_prob hidden_act
    layer_norm_eps initializer_range selected_features pooling_mode loss_type learning_rate learner
    weight_decay epochs stopping_step eval_step train_batch_size eval_batch_size
    train_neg_sample_args clip_grad_norm loss_decimal_place metric_decimal_place metrics topk
    valid_metric valid_metric_bigger enable_amp enable_scaler shuffle checkpoint_dir show_progress
    state seed gpu_id use_gpu worker reproducibility device single_spec local_rank MODEL_INPUT_TYPE
    eval_type log_wandb wandb_project require_pow valid_neg_sample_args test_neg_sample_args
    save_dataset save_dataloaders dataset_save_path dataloaders_save_path
    """.split()  # noqa: SIM905
)

T = TypeVar("T")


def data_key(config: dict[str, Any]) -> str:
    """Return a text that is equal for two complete RecBole configurations with the same prepared data."""
    relevant = {key: value for key, value in config.items() if key not in _WITHOUT_EFFECT}
    return json.dumps(relevant, sort_keys=True, default=str)


class PreparedCache(Generic[T]):
    """Keeps the `size` values that were used last."""

    def __init__(self, size: int = 3) -> None:
        self._size = size
        self._values: OrderedDict[str, T] = OrderedDict()

    def get(self, key: str, make: Callable[[], T]) -> T:
        """Return the value of `key`; `make` creates it if it is missing."""
        if key in self._values:
            self._values.move_to_end(key)
        else:
            made = make()
            while len(self._values) >= self._size:
                self._values.popitem(last=False)
            self._values[key] = made
        return self._values[key]
