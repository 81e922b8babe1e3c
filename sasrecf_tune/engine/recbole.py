"""The only importer of RecBole's Config and data modules; each workaround stands here with its reason.

Sources: RecBole 1.2.1, recbole/config/configurator.py, recbole/data/utils.py, recbole/trainer/trainer.py.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

with warnings.catch_warnings():
    # Deprecation notes of the libraries that RecBole imports are nothing a user can act on.
    warnings.simplefilter("ignore")
    import recbole.trainer.trainer as recbole_trainer
    import torch
    from recbole.config import Config as RecBoleConfig
    from recbole.data import create_dataset
    from recbole.data.utils import create_samplers, get_dataloader
    from recbole.trainer import Trainer
    from recbole.utils import get_model, init_seed
    from recbole.utils.logger import RemoveColorFilter

    from sasrecf_tune.engine.recbole_shims import numpy_1_names, patch_pandas_3

from sasrecf_tune.errors import ConfigFileError, DataError, TuneError
from sasrecf_tune.inputs.dataset_files import DatasetFiles, check_columns, locate
from sasrecf_tune.inputs.dataset_rows import unreadable_number
from sasrecf_tune.inputs.hyperparameters import SASRECF, features_of
from sasrecf_tune.messages import Config

__all__ = [
    "NOT_A_NUMBER",
    "RECBOLE_ENGINE",
    "Built",
    "Engine",
    "Prepared",
    "RecordingTrainerMixin",
    "build",
    "init_seed",
    "make_config",
    "prepare",
]


# What RecBole's Trainer raises (trainer.py, _check_nan).
NOT_A_NUMBER = "Training loss is nan"


class _NoTensorboard:
    """RecBole's Trainer writes ./log_tensorboard wherever it is run; trials have their own records."""

    def add_scalar(self, *_: object) -> None: ...

    def add_hparams(self, *_: object) -> None: ...


class _Collector(recbole_trainer.Collector):  # type: ignore[misc]  # recbole is untyped
    """RecBole's asks all that it holds for .cpu(), the number of items too, and fails (collector.py)."""

    def get_data_struct(self) -> Any:
        """See Collector."""
        held = self.data_struct
        plain = {key: value for key, value in held._data_dict.items() if not isinstance(value, torch.Tensor)}
        for key in plain:
            del held[key]
        found = super().get_data_struct()
        for key, value in plain.items():
            held.set(key, value)
            found.set(key, value)
        return found


recbole_trainer.get_tensorboard = lambda _logger: _NoTensorboard()
recbole_trainer.Collector = _Collector  # ItemCoverage, AveragePopularity, GiniIndex, ...
patch_pandas_3()


class TrialConfig(RecBoleConfig):  # type: ignore[misc]  # recbole is untyped
    """RecBole's Config without its two side doors."""

    def _load_cmd_line(self) -> Config:
        # The host program's argv would override the trial's values.
        return {}

    def _convert_config_dict(self, config_dict: Config) -> Config:
        # RecBole runs eval() on every string; our values already have their types.
        return config_dict

    def compatibility_settings(self) -> None:
        """See `compatibility.numpy_1_names`."""
        with numpy_1_names():
            super().compatibility_settings()


def make_config(config: Config, gpu: str = "") -> RecBoleConfig:
    """RecBole's complete configuration for `config`; `gpu` is a card's index, "" for the CPU.

    Raises:
        ConfigFileError: RecBole refuses it; its reason is in the message.
    """
    # _init_device sets CUDA_VISIBLE_DEVICES to gpu_id, and takes "" for the CPU.
    # Config changes nested values in place: hand it its own copies.
    forced = {
        "gpu_id": gpu,
        "show_progress": False,
        "save_dataset": False,
        "save_dataloaders": False,
        # No effect on results, and a worker may not have processes of its own.
        "worker": 0,
        # RecBole would unpickle whatever lies there.
        "dataset_save_path": None,
        "dataloaders_save_path": None,
    }
    own = {key: _copy(value) for key, value in config.items()} | forced
    try:
        return TrialConfig(config_dict=own)
    except TuneError:
        raise
    except Exception as error:  # RecBole raises whatever it stumbles on
        raise ConfigFileError(f"RecBole refuses this configuration: {_said(error)}") from error


@dataclass(frozen=True)
class Prepared:
    """RecBole's data set of one data configuration and its train, valid and test splits."""

    dataset: Any
    splits: tuple[Any, Any, Any]


@dataclass(frozen=True)
class Engine:
    """The classes that train a configuration.

    `dataset` makes a data set from a config, `model` a model from a config and the training split,
    `trainer` a Trainer from a config and a model. `adjust` may change settings of the config that have no
    effect on results, given the number of items.
    """

    name: str
    dataset: Callable[[RecBoleConfig], Any]
    model: Callable[[RecBoleConfig, Any], torch.nn.Module]
    trainer: Callable[[RecBoleConfig, torch.nn.Module], Any]
    adjust: Callable[[RecBoleConfig, int], None] = lambda _config, _items: None


def prepare(config: RecBoleConfig, engine: Engine) -> Prepared:
    """Read, filter and split the data as `run_recbole` does (recbole/quick_start/quick_start.py).

    Raises:
        DataError: files or columns are missing, RecBole cannot read them, or nothing is left.
    """
    check_files(config)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = engine.dataset(config)
            users, items = dataset.user_num - 1, dataset.item_num - 1
            splits = tuple(dataset.build())
    except TuneError:
        raise
    except Exception as error:  # pandas and RecBole raise whatever they stumble on
        if isinstance(error, ValueError) and (named := unreadable_number(data_directory(config), config)):
            raise named from error
        raise DataError(
            f"RecBole cannot prepare the data set: {_said(error)}", where=str(config["data_path"])
        ) from error
    _check_finite(dataset, config)
    train, valid, test = splits
    for name, split in (("training", train), ("validation", valid)):
        if len(split) == 0:
            raise DataError(
                f"the {name} split is empty ({users} users, {items} items after filtering)",
                where=str(config["data_path"]),
                fix=f"It is split by {config['eval_args']['split']}: loosen the filters, or split otherwise.",
            )
    # For token2id(), which nothing in training asks: a dictionary of all users and items for each worker.
    dataset.field2token_id.clear()
    return Prepared(dataset, (train, valid, test))


def _check_finite(dataset: Any, config: RecBoleConfig) -> None:
    selected = features_of(config["model"], config.final_config_dict)
    used = [name for name in config["numerical_features"] or [] if name in selected]
    for suffix, table, names in (
        ("inter", dataset.inter_feat, [config["TIME_FIELD"]]),
        ("item", dataset.get_item_feature(), used),
    ):
        for name in names:
            if name in table.columns and not torch.isfinite(table[name]).all():
                raise DataError(
                    f"column {name!r} holds a number that is infinite, or too large",
                    where=str(data_directory(config).file(suffix)),
                )


def check_files(config: RecBoleConfig, features: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Check files and columns for `config` and further `features`; returns the item columns.

    Raises:
        DataError: see `atomic_files.check_columns`.
    """
    wanted = tuple(dict.fromkeys([*features_of(config["model"], config.final_config_dict), *features]))
    if not wanted and config["model"] == SASRECF:
        raise DataError("selected_features is empty: SASRecF needs at least one item feature")
    return check_columns(data_directory(config), config, wanted)


def data_directory(config: RecBoleConfig) -> DatasetFiles:
    """Where the data set of `config` lies; RecBole has already joined data_path and the name."""
    parent = str(config["data_path"])[: -len(str(config["dataset"]))]
    parts = config["benchmark_filename"] or [""]
    return locate(str(config["dataset"]), parent, str(parts[0]))


class RecordingTrainerMixin:
    """Mixed into a RecBole Trainer: keeps the last validation's metrics, and the best weights in memory.

    RecBole's checkpoint pickles the whole Config, which torch >= 2.6 refuses to load, under a name
    made of the time to the second, which parallel trials share.
    """

    last_valid: dict[str, float]
    best_epoch: int
    best_state: dict[str, torch.Tensor]

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, dict[str, float]]:
        # Scores that are not numbers give metrics all the same, and high ones: topk puts NaN first.
        model: torch.nn.Module = self.model  # type: ignore[attr-defined]
        if not torch.stack([weight.detach().isfinite().all() for weight in model.parameters()]).all():
            raise ValueError(NOT_A_NUMBER)
        score, result = super()._valid_epoch(valid_data, show_progress)  # type: ignore[misc]
        self.last_valid = {key: float(value) for key, value in result.items()}
        return float(score), result

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **_: object) -> None:
        self.best_epoch = epoch + 1
        model: torch.nn.Module = self.model  # type: ignore[attr-defined]
        self.best_state = {
            name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()
        }


class _StockTrainer(RecordingTrainerMixin, Trainer):  # type: ignore[misc]  # recbole is untyped
    """RecBole's Trainer, observed."""


def _stock_model(config: RecBoleConfig, train_set: Any) -> torch.nn.Module:
    model: torch.nn.Module = get_model(config["model"])(config, train_set)
    return model


RECBOLE_ENGINE = Engine("recbole", create_dataset, _stock_model, _StockTrainer)


@dataclass(frozen=True)
class Built:
    """A trainer on a fresh model, and the loaders it takes."""

    trainer: Any
    train: Any
    valid: Any
    test: Any


def build(config: RecBoleConfig, prepared: Prepared, engine: Engine) -> Built:
    """Loaders, model and trainer, seeded as `run_recbole` seeds them."""
    train_set, valid_set, test_set = prepared.splits
    engine.adjust(config, int(prepared.dataset.item_num))
    samplers = create_samplers(config, prepared.dataset, list(prepared.splits))
    # Not data_preparation(): it would build the splits anew for every trial.
    train = get_dataloader(config, "train")(config, train_set, samplers[0], shuffle=config["shuffle"])
    valid = get_dataloader(config, "valid")(config, valid_set, samplers[1], shuffle=False)
    test = get_dataloader(config, "test")(config, test_set, samplers[2], shuffle=False)
    init_seed(config["seed"], config["reproducibility"])
    model = engine.model(config, train_set).to(config["device"])
    if config["train_neg_sample_args"].get("dynamic", False):
        train.get_model(model)  # as fit() does, for whoever draws a batch without it
    return Built(engine.trainer(config, model), train, valid, test)


def log_to_stderr() -> None:
    """RecBole logs through the root logger, with colours that no log file wants."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(RemoveColorFilter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list | tuple) else value


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())[:500]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
