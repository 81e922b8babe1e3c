"""Which files and columns of a data set RecBole loads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sasrecf_tune.inputs.dataset_files import DatasetFiles

READ = ("inter", "user", "item")

Header = Mapping[str, str]  # the columns of a file with their types


def reads_items(data: DatasetFiles, config: Mapping[str, Any]) -> bool:
    """Whether RecBole reads the item file."""
    return reads_file(data, config, "item")


def reads_file(data: DatasetFiles, config: Mapping[str, Any], source: str) -> bool:
    """Whether RecBole reads the file of users or items.

    Source: recbole/data/dataset/dataset.py, _load_user_or_item_feat.
    """
    load = config["load_col"]
    return data.file(source).is_file() and (load is None or bool(load.get(source)))


def loaded_columns(data: DatasetFiles, config: Mapping[str, Any], source: str, header: Header) -> set[str]:
    """The columns of a file that RecBole loads."""
    if source != "inter" and not reads_file(data, config, source):
        return set()
    listed = "*" if config["load_col"] is None else config["load_col"].get(source) or []
    dropped = (config["unload_col"] or {}).get(source) or []
    return {name for name in header if (listed == "*" or name in listed) and name not in dropped}
