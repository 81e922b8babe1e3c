"""Prepared data, built once for each distinct data configuration and shared by its trials."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

# Keys of RecBole's configuration that cannot change the prepared data. What is not listed here is
# part of the key: forgetting one costs time, listing one wrongly would cost correctness.
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
    """A text that is equal for two complete RecBole configurations with the same prepared data."""
    relevant = {key: value for key, value in config.items() if key not in _WITHOUT_EFFECT}
    return json.dumps(relevant, sort_keys=True, default=str)


class PreparedCache(Generic[T]):
    """The `size` prepared data sets used last."""

    def __init__(self, size: int = 3) -> None:
        self._size = size
        self._kept: OrderedDict[str, T] = OrderedDict()

    def get(self, key: str, make: Callable[[], T]) -> T:
        """What is kept under `key`, made now when there is nothing."""
        if key in self._kept:
            self._kept.move_to_end(key)
        else:
            made = make()
            while len(self._kept) >= self._size:
                self._kept.popitem(last=False)
            self._kept[key] = made
        return self._kept[key]
