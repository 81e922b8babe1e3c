"""Columns that RecBole drops although the model reads them, or that it cannot tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sasrecf_tune.errors import DataError
from sasrecf_tune.inputs.dataset_files import DatasetFiles
from sasrecf_tune.inputs.evaluation_settings import label_column
from sasrecf_tune.inputs.loading import READ, Header, loaded_columns, reads_file


def check_dropped(
    data: DatasetFiles, config: Mapping[str, Any], headers: Mapping[str, Header], features: Sequence[str]
) -> None:
    """Check that RecBole does not drop a column that the model reads after loading it.

    Raises:
        DataError: It does, or a setting names a column that it cannot drop.

    Source: recbole/data/dataset/dataset.py, _drop_unused_col and _set_label_by_threshold.
    """
    user, item = str(config["USER_ID_FIELD"]), str(config["ITEM_ID_FIELD"])
    used = {"inter": {user, item}, "item": {item, *features}, "user": {user}}
    if config["benchmark_filename"]:
        used["inter"].add(f"{item}{config['LIST_SUFFIX']}")
    if label := label_column(config):
        used["inter"].add(label)
    for source, names in (config["unused_col"] or {}).items():
        if source not in used or (source != "inter" and not reads_file(data, config, source)):
            raise DataError(
                f"it names columns of {data.name}.{source}, which RecBole does not load",
                where="unused_col",
                fix=f"Remove {source} from unused_col.",
            )
        for name in names:
            if name in used[source]:
                raise DataError(
                    f"column {name!r} is needed, but unused_col drops it",
                    where="unused_col",
                    fix=f"Remove {name} from unused_col.",
                )
    for name in config["threshold"] or {}:
        needed = {*used["inter"], str(config["TIME_FIELD"])}
        if name in needed or not headers["inter"][name].startswith("float"):
            raise DataError(f"column {name!r} cannot be made a label", where="threshold")


def check_names(
    data: DatasetFiles, config: Mapping[str, Any], headers: Mapping[str, Header], features: Sequence[str]
) -> None:
    """Check for column names that RecBole cannot tell apart: it has one type and one numbering for a name.

    Raises:
        DataError: There is one.
    """
    loaded = {source: loaded_columns(data, config, source, headers[source]) for source in READ}
    user, item = str(config["USER_ID_FIELD"]), str(config["ITEM_ID_FIELD"])
    taken = {user, str(config["TIME_FIELD"]), str(config["ITEM_LIST_LENGTH_FIELD"])}
    taken |= {name + str(config["LIST_SUFFIX"]) for name in headers["inter"]}
    taken.add(f"{config['NEG_PREFIX']}{config['ITEM_ID_FIELD']}")
    for name in sorted(loaded["item"] & taken):
        raise DataError(
            f"the item column {name!r} has a name that RecBole gives to a column of its own",
            where=f"{data.file('item')}:1",
            fix="Rename it in the file" + (", or remove it from load_col." if name not in features else "."),
        )
    special = {*features, *(config["numerical_features"] or [])}
    # The last of each is the column that joins the two files.
    for first, second, key in (("inter", "item", item), ("inter", "user", user), ("user", "item", None)):
        for name in sorted((loaded[first] & loaded[second]) - {key}):
            kinds = {headers[first][name], headers[second][name]}
            if kinds == {"float"} and name not in special:
                continue
            selected = second == "item" and name in features
            droppable = first if selected else f"{first} or of {second}"
            raise DataError(
                f"column {name!r} is in {data.name}.{first} and in {data.name}.{second}: RecBole takes one "
                "name for one column",
                where=f"{data.file(second)}:1",
                fix=f"Rename one, or load only one: leave {name} out of {droppable} in load_col.",
            )
