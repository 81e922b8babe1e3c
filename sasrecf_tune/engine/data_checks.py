"""Checks of a data set before and after RecBole prepares it, with errors that name file and column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from sasrecf_tune.errors import DataError, TuneError, UnknownReasonError
from sasrecf_tune.inputs.dataset_columns import TIMES_ARE_NUMBERS, check_columns
from sasrecf_tune.inputs.dataset_faults import nothing_left, unreadable_number
from sasrecf_tune.inputs.dataset_files import DatasetFiles, locate
from sasrecf_tune.inputs.feature_columns import check_together
from sasrecf_tune.inputs.hyperparameters import SASRECF, features_of

if TYPE_CHECKING:
    from recbole.config import Config as RecBoleConfig


def check_files(config: RecBoleConfig, features: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Check the files and columns for `config` and further `features`.

    Returns:
        The item columns.

    Raises:
        DataError: A file or a column is missing or not usable.
    """
    names = tuple(dict.fromkeys([*features_of(config["model"], config.final_config_dict), *features]))
    if not names and config["model"] == SASRECF:
        raise DataError("selected_features is empty: SASRecF needs at least one item feature")
    data = data_directory(config)
    item_columns = check_columns(data, config, names)
    check_together(data, config, features_of(config["model"], config.final_config_dict))
    return item_columns


def data_directory(config: RecBoleConfig) -> DatasetFiles:
    """Return the data set's files; RecBole has already joined data_path and the name."""
    parent = str(config["data_path"])[: -len(str(config["dataset"]))]
    return locate(str(config["dataset"]), parent, config["benchmark_filename"])


def check_splits(train: Any, valid: Any, left: str, config: RecBoleConfig) -> None:
    """Check that there is something to train on and to validate with.

    Args:
        train: RecBole's data set of the training split.
        valid: That of the validation split.
        left: What is left after filtering, for the error.
        config: Complete configuration.

    Raises:
        DataError: A split is empty, or its labels do not allow the metric.
    """
    for name, split in (("training", train), ("validation", valid)):
        if len(split) == 0:
            raise DataError(
                f"the {name} split is empty ({left} after filtering)",
                where=str(config["data_path"]),
                fix=f"The split is {config['eval_args']['split']}: change it, or filter less. "
                + _enough(config["eval_args"]["split"]),
            )
    _check_labels(valid, config)


def _enough(split: Mapping[str, str]) -> str:
    """How many interactions a user needs, for the fix of an empty split."""
    if "LS" not in split:
        return "For some of each part, a user needs four."
    if split["LS"] == "valid_only":
        return "To leave one out for validation, a user needs three."
    return "To leave one out for validation and one for test, a user needs four."


def _check_labels(valid: Any, config: RecBoleConfig) -> None:
    mode = config["eval_args"]["mode"]
    if "labeled" not in (mode, isinstance(mode, dict) and mode.get("valid")):
        return
    labels = valid.inter_feat[config["LABEL_FIELD"]]
    if str(config["valid_metric"]).upper() == "AUC" and len(labels.unique()) == 1:
        raise DataError(
            f"all labels ({config['LABEL_FIELD']}) of the validation split are {float(labels[0]):g}: AUC "
            "compares scores of those with 1 and of others",
            where="threshold" if config["threshold"] else str(data_directory(config).interactions),
            fix="Set threshold to a value between those of its column, or use another metric: "
            "--set metrics=[LogLoss] --metric LogLoss.",
        )


def preparation_error(error: Exception, config: RecBoleConfig) -> TuneError:
    """Return why RecBole could not prepare the data, as far as its files and settings tell."""
    data = data_directory(config)
    if isinstance(error, ValueError) and (cause := unreadable_number(data, config)):
        return cause
    if "feat is empty" in str(error):  # recbole/data/dataset/dataset.py, _reset_index
        return nothing_left(data, config)
    if str(error).startswith("Preload"):
        return DataError(
            "RecBole cannot read the weights that it names",
            where="preload_weight",
            fix="Remove it: SASRecF does not use such weights.",
        )
    if config["additional_feat_suffix"]:
        return DataError(
            "RecBole cannot prepare the data set with the further files that it names: "
            + ", ".join(f"{data.name}.{suffix}" for suffix in config["additional_feat_suffix"]),
            where="additional_feat_suffix",
            fix="Remove it: SASRecF does not read such files. (RecBole needs their ids in alias_of_item_id.)",
        )
    return UnknownReasonError("RecBole cannot prepare the data set", where=str(data.path))


def check_finite(dataset: Any, config: RecBoleConfig) -> None:
    """Check the numbers of the columns that are used.

    Raises:
        DataError: A column has no numbers, or some that float32 does not hold.
    """
    selected = features_of(config["model"], config.final_config_dict)
    used = [name for name in config["numerical_features"] or [] if name in selected]
    for suffix, table, names in (
        ("inter", dataset.inter_feat, [config["TIME_FIELD"]]),
        ("item", dataset.get_item_feature(), used),
    ):
        for name in names:
            if name not in table.columns or torch.isfinite(table[name]).all():
                continue
            none = bool(table[name].isnan().any())  # RecBole fills what is missing, but not where all is
            raise DataError(
                f"column {name!r} has no numbers"
                if none
                else f"column {name!r} contains a number that is infinite or too large for float32",
                where=str(data_directory(config).file(suffix)),
                fix=f"Remove {name} from selected_features." if suffix == "item" else TIMES_ARE_NUMBERS,
            )
