"""Keeps prepared data in memory, once for each data configuration."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from sasrecf_tune.inputs.hyperparameters import DATA_INDEPENDENT_KEYS

T = TypeVar("T")

_SIZE = 3


def data_key(config: dict[str, Any]) -> str:
    """Return a text that is equal for two complete RecBole configurations with the same prepared data."""
    relevant = {key: value for key, value in config.items() if key not in DATA_INDEPENDENT_KEYS}
    return json.dumps(relevant, sort_keys=True, default=str)


class PreparedCache(Generic[T]):
    """Keeps the `_SIZE` values that were used last."""

    def __init__(self) -> None:
        self._values: OrderedDict[str, T] = OrderedDict()

    def get(self, key: str, make: Callable[[], T]) -> T:
        """Return the value of `key`; `make` creates it if it is missing."""
        if key in self._values:
            self._values.move_to_end(key)
        else:
            made = make()
            while len(self._values) >= _SIZE:
                self._values.popitem(last=False)
            self._values[key] = made
        return self._values[key]
