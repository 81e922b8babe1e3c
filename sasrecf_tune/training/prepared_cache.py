"""Prepared data, built once for each distinct data configuration and shared by its trials."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from sasrecf_tune.inputs.hyperparameters import DATA_INDEPENDENT_KEYS

T = TypeVar("T")


def data_key(config: dict[str, Any]) -> str:
    """A text that is equal for two complete RecBole configurations with the same prepared data."""
    relevant = {key: value for key, value in config.items() if key not in DATA_INDEPENDENT_KEYS}
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
