"""Checks of the item columns that SASRecF takes as features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sasrecf_tune.errors import DataError, suggest
from sasrecf_tune.inputs.dataset_files import DatasetFiles, columns, text_format


def check_features(
    data: DatasetFiles, config: Mapping[str, Any], item: Mapping[str, str], features: Sequence[str]
) -> None:
    """Check that the `features` are columns of the item file that SASRecF can embed.

    Args:
        item: The columns of the item file, {} if it does not exist.

    Raises:
        DataError: names what is missing, and what there is.
    """
    item_id, item_file = str(config["ITEM_ID_FIELD"]), data.file("item")
    if not item_file.is_file():
        separator = str(config["field_separator"])
        raise DataError(
            "the file does not exist, and SASRecF takes item features from it "
            f"(selected_features: {', '.join(features)})",
            where=str(item_file),
            fix=f"Create it: a first line of fields such as {item_id}:token and {features[0]}:token, with "
            f"{separator!r} between, then one row per item. selected_features says which columns to use: "
            f'--set "selected_features=[{features[0]}]".',
        )
    for feature in features:
        _check_feature(feature, item, item_id, item_file, config["numerical_features"] or [])


def check_together(data: DatasetFiles, config: Mapping[str, Any], features: Sequence[str]) -> None:
    """Check the features that one trial takes: RecBole 1.2.1 embeds one float column at most.

    Raises:
        DataError: There are several.

    Source: recbole/model/layers.py, embed_input_fields: it joins float columns along the wrong dimension.
    """
    of_the_file = any(name != config["ITEM_ID_FIELD"] for name in features)
    item = columns(data.file("item"), *text_format(config)) if of_the_file else {}
    floats = [name for name in features if item.get(name) == "float"]
    if len(floats) > 1:
        raise DataError(
            f"{', '.join(floats)} are float columns, and SASRecF of RecBole 1.2.1 can embed only one of them",
            where="selected_features",
            fix=f"Keep one, for example {floats[0]}. Others can be declared as token in the first line "
            "of the item file, if they have few values; remove them from numerical_features then.",
        )


def _check_feature(
    feature: str, item: Mapping[str, str], item_id: str, item_file: Path, numerical: Sequence[str]
) -> None:
    usable = [name for name in item if name != item_id]
    if feature not in usable:
        fix = "SASRecF needs item features: columns of this file in addition to the item id."
        if usable:
            example = f'--set "selected_features=[{usable[-1]}]"'
            fix = f"Its feature columns: {', '.join(usable)}. Choose from them, for example {example}."
        raise DataError(
            f"selected_features has {feature!r}, but the data set has no such item column"
            + suggest(feature, usable),
            where=str(item_file),
            fix=fix,
        )
    if item[feature] == "float_seq":
        # sasrecf.py counts such a column once for each of its buckets, layers.py embeds it once.
        others = [name for name in usable if item[name] != "float_seq"]
        raise DataError(
            f"column {feature!r} has type float_seq, which SASRecF of RecBole 1.2.1 cannot embed",
            where=str(item_file),
            fix="Remove it from selected_features" + (f"; there are {', '.join(others)}." if others else "."),
        )
    if item[feature].startswith("float") and feature not in numerical:
        # recbole/model/layers.py would leave the column out and then fail on shapes.
        raise DataError(
            f"column {feature!r} has type {item[feature]}, which RecBole embeds only if told to",
            where=str(item_file),
            fix=f'Add it: --set "numerical_features=[{feature}]".',
        )
