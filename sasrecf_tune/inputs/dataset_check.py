"""All checks of a data set that need no RecBole, made before a worker starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sasrecf_tune.errors import DataError
from sasrecf_tune.inputs.dataset_columns import added_columns, check_columns
from sasrecf_tune.inputs.dataset_faults import (
    FILTERS,
    NO_FILTER,
    check_histories,
    check_ids,
    unreadable_number,
)
from sasrecf_tune.inputs.dataset_files import locate
from sasrecf_tune.inputs.dataset_rows import scan
from sasrecf_tune.inputs.evaluation_settings import candidates, check_evaluation
from sasrecf_tune.inputs.feature_columns import check_together
from sasrecf_tune.inputs.hyperparameters import BUILTIN_DATASET, SASRECF
from sasrecf_tune.inputs.recbole_defaults import complete_config

# Lines of a file in which wrong numbers are looked for before RecBole reads it all.
_FIRST_LINES = 1000


@dataclass(frozen=True)
class DatasetCheck:
    """What the check of a data set has found.

    Attributes:
        load_col: RecBole's default with the columns that the configuration needs; None if it is enough.
        notes: What the user should know, one text each.
    """

    item_columns: tuple[str, ...]
    load_col: dict[str, Any] | None
    notes: tuple[str, ...]


def check_dataset(
    config: Mapping[str, Any], feature_lists: Sequence[tuple[str, ...]], longest: int, own_path: bool
) -> DatasetCheck:
    """Check the files of a data set and the settings that say how they are read, split and ranked.

    Args:
        config: A configuration, without RecBole's defaults.
        feature_lists: The item columns that each trial takes; those of one trial, or of several.
        longest: The smallest MAX_ITEM_LIST_LENGTH of any trial.
        own_path: Whether the user has given the path of the data.

    Raises:
        InputError: RecBole would refuse the configuration or the data, or fail.
    """
    complete = complete_config(config)
    check_evaluation(complete)
    features = tuple(dict.fromkeys(name for names in feature_lists for name in names))
    if not features and config["model"] == SASRECF:
        raise DataError("selected_features is empty: SASRecF needs at least one item feature")
    data = locate(str(config["dataset"]), config.get("data_path"), complete["benchmark_filename"])
    notes: list[str] = []
    load_col = None
    if "load_col" not in config:
        load_col, added = added_columns(data, complete, features)
        if added:
            notes.append(f"load_col: added {', '.join(added)}")
            complete["load_col"] = load_col
        else:
            load_col = None
    item_columns = check_columns(data, complete, features)
    for names in feature_lists:
        check_together(data, complete, names)
    notes += scan(data, complete)
    if error := unreadable_number(data, complete, _FIRST_LINES):
        raise error
    check_ids(data, complete)
    check_histories(data, complete, longest)
    if own_path and config["dataset"] == BUILTIN_DATASET:
        notes.append(f"--data-path has no effect: RecBole reads the {BUILTIN_DATASET} that comes with it")
    notes += _sampling_notes(complete)
    if complete["benchmark_filename"]:
        notes += [
            f"{key} has no effect: RecBole does not filter the files of benchmark_filename"
            for key in FILTERS
            if complete[key] not in NO_FILTER
        ]
    return DatasetCheck(item_columns, load_col, tuple(notes))


def _sampling_notes(config: Mapping[str, Any]) -> list[str]:
    ranked = candidates(config)
    topk = config["topk"] if isinstance(config["topk"], list) else [config["topk"]]
    if ranked is None or max(topk) < ranked:
        return []
    return [f"topk {max(topk)}, but only {ranked} items are ranked for a target: Hit and Recall are always 1"]
