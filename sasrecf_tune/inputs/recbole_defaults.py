"""RecBole's complete configuration, read from its property files: RecBole would import torch."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from sasrecf_tune.environment import install_command
from sasrecf_tune.errors import DataError
from sasrecf_tune.inputs.config_files import load_yaml
from sasrecf_tune.inputs.hyperparameters import BUILTIN_DATASET, SASRECF, TABLE


def package_directory() -> Path:
    """The directory of the installed RecBole.

    Raises:
        DataError: RecBole is not installed.
    """
    spec = importlib.util.find_spec("recbole")
    if spec is None or spec.origin is None:
        raise DataError("RecBole is not installed", fix=f"Install it with the rest: {install_command()}")
    return Path(spec.origin).parent


def complete_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` over RecBole's defaults for its model and its data set; a mapping replaces the default one.

    Raises:
        DataError: RecBole is not installed.

    Source: recbole/config/configurator.py, _load_internal_config_dict and _set_default_parameters.
    """
    complete: dict[str, Any] = dict.fromkeys(TABLE)  # RecBole takes a missing key for None
    complete |= deepcopy(defaults(str(config["model"]), str(config["dataset"]))) | dict(config)
    if isinstance(complete["eval_args"], dict):
        others = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": "user", "mode": "full"}
        complete["eval_args"] = others | complete["eval_args"]
    return complete


@cache
def defaults(model: str, dataset: str) -> dict[str, Any]:
    """RecBole's defaults for a model and a data set.

    Raises:
        DataError: RecBole is not installed.
    """
    properties = package_directory() / "properties"
    files = [
        properties / "overall.yaml",
        properties / "model" / f"{model}.yaml",
        properties / "dataset" / "sample.yaml",
        # A name with a slash is refused later; here it would lead to a file of somebody else.
        *([properties / "dataset" / f"{dataset}.yaml"] if "/" not in dataset else []),
        properties / "quick_start_config" / "sequential.yaml",
    ]
    if dataset == BUILTIN_DATASET and model == SASRECF:
        files.append(properties / "quick_start_config" / "special_sequential_on_ml-100k.yaml")
    found: dict[str, Any] = {}
    for file in files:
        with contextlib.suppress(OSError, ValueError):  # there is none, or it cannot be the name of a file
            found |= load_yaml(file.read_text(encoding="utf-8")) or {}
    return found
