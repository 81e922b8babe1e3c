"""RecBole's configuration, data and trainer, with a workaround for each of its problems.

Sources: RecBole 1.2.1, recbole/config/configurator.py, recbole/data/utils.py, recbole/trainer/trainer.py.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    # Users cannot act on the deprecation warnings of libraries that RecBole imports.
    warnings.simplefilter("ignore")
    import recbole.trainer.trainer as recbole_trainer
    import torch
    from recbole.config import Config as RecBoleConfig
    from recbole.data.dataset import SequentialDataset
    from recbole.data.utils import create_samplers, get_dataloader
    from recbole.trainer import Trainer
    from recbole.utils import get_model, init_seed
    from recbole.utils.logger import RemoveColorFilter

    from sasrecf_tune.engine.recbole_shims import numpy_1_names, patch_pandas_3

from typing_extensions import override

from sasrecf_tune.engine.data_checks import check_files, check_finite, check_splits, preparation_error
from sasrecf_tune.engine.recording_trainer import RecordingTrainerMixin
from sasrecf_tune.errors import TuneError, UnknownReasonError
from sasrecf_tune.messages import Config

__all__ = [
    "RECBOLE_ENGINE",
    "Built",
    "Engine",
    "Prepared",
    "build",
    "init_seed",
    "make_config",
    "prepare",
]


class _NoTensorboard:
    """Replaces the writer that creates ./log_tensorboard in the current directory."""

    def add_scalar(self, *_: object) -> None: ...

    def add_hparams(self, *_: object) -> None: ...


class _Collector(recbole_trainer.Collector):  # type: ignore[misc]  # recbole is untyped
    """Fixes a method that calls .cpu() on all values, even the number of items (collector.py).

    Attributes:
        on_batch: Called after each batch of an evaluation with its scores, as RecBole's collector gets them,
            and the rows that were collected for the metrics of the ranked items.
    """

    on_batch: Callable[..., None] | None = None

    @override
    def eval_batch_collect(
        self, scores_tensor: Any, interaction: Any, positive_u: Any, positive_i: Any
    ) -> None:
        super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)
        if self.on_batch is not None:
            rows = self.data_struct["rec.topk"][-len(scores_tensor) :]
            self.on_batch(scores_tensor, interaction, positive_u, positive_i, rows)

    @override
    def get_data_struct(self) -> Any:
        values = self.data_struct
        plain = {
            key: value for key, value in values._data_dict.items() if not isinstance(value, torch.Tensor)
        }
        for key in plain:
            del values[key]
        copy = super().get_data_struct()
        for key, value in plain.items():
            values.set(key, value)
            copy.set(key, value)
        return copy


recbole_trainer.get_tensorboard = lambda _logger: _NoTensorboard()
recbole_trainer.Collector = _Collector  # ItemCoverage, AveragePopularity, GiniIndex, ...
patch_pandas_3()


class TrialConfig(RecBoleConfig):  # type: ignore[misc]  # recbole is untyped
    """RecBole's Config with settings from the given dictionary only."""

    @override
    def _load_cmd_line(self) -> Config:
        # The arguments of this program must not override the trial's values.
        return {}

    @override
    def _convert_config_dict(self, config_dict: Config) -> Config:
        # RecBole calls eval() on every string; our values already have their types.
        return config_dict

    @override
    def compatibility_settings(self) -> None:
        with numpy_1_names():
            super().compatibility_settings()


def make_config(config: Config, gpu: str = "") -> RecBoleConfig:
    """Return RecBole's complete configuration for `config`.

    Args:
        config: The settings that differ from RecBole's defaults.
        gpu: A GPU's index, "" for the CPU.

    Raises:
        UnknownReasonError: RecBole rejects the configuration.
    """
    # _init_device sets CUDA_VISIBLE_DEVICES to gpu_id, and takes "" for the CPU.
    forced = {
        "gpu_id": gpu,
        "show_progress": False,
        "save_dataset": False,
        "save_dataloaders": False,
        # No effect on results, and a worker may not start processes.
        "worker": 0,
        # RecBole would unpickle these files; see also RECBOLE_ENGINE.
        "dataset_save_path": None,
        "dataloaders_save_path": None,
    }
    # Copied, because Config changes nested values in place.
    settings = {key: _copy(value) for key, value in config.items()} | forced
    if "://" in str(settings.get("data_path")):  # pandas would take the directory for an address
        settings["data_path"] = str(Path(str(settings["data_path"])).resolve())
    try:
        return TrialConfig(config_dict=settings)
    except TuneError:
        raise
    except Exception as error:  # RecBole can raise anything
        raise UnknownReasonError("RecBole rejects this configuration") from error


@dataclass(frozen=True)
class Prepared:
    """RecBole's data set of one data configuration, and its training, validation and test splits."""

    dataset: Any
    splits: tuple[Any, Any, Any]


@dataclass(frozen=True)
class Engine:
    """The classes that train a configuration.

    Attributes:
        dataset: Creates a data set from a config.
        model: Creates a model from a config and the training split.
        trainer: Creates a Trainer from a config and a model.
    """

    name: str
    dataset: Callable[[RecBoleConfig], Any]
    model: Callable[[RecBoleConfig, Any], torch.nn.Module]
    trainer: Callable[[RecBoleConfig, torch.nn.Module], Any]


def prepare(config: RecBoleConfig, engine: Engine) -> Prepared:
    """Read, filter and split the data as `run_recbole` does (recbole/quick_start/quick_start.py).

    Raises:
        DataError: Files or columns are missing or not readable, or a split is empty.
        UnknownReasonError: RecBole cannot prepare the data.
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
    except Exception as error:  # pandas and RecBole can raise anything
        raise preparation_error(error, config) from error
    check_finite(dataset, config)
    train, valid, test = splits
    check_splits(train, valid, f"{users} users, {items} items", config)
    # Only token2id() reads it, and training does not call that: it would use memory in each worker.
    dataset.field2token_id.clear()
    return Prepared(dataset, (train, valid, test))


class _StockTrainer(RecordingTrainerMixin, Trainer):  # type: ignore[misc]  # recbole is untyped
    """RecBole's Trainer with the mixin."""


def _stock_model(config: RecBoleConfig, train_set: Any) -> torch.nn.Module:
    model: torch.nn.Module = get_model(config["model"])(config, train_set)
    return model


# Not create_dataset(), which unpickles a data set that it finds in the directory of checkpoints.
RECBOLE_ENGINE = Engine("recbole", SequentialDataset, _stock_model, _StockTrainer)


@dataclass(frozen=True)
class Built:
    """A trainer of a new model, and its data loaders."""

    trainer: Any
    train: Any
    valid: Any
    test: Any


def build(config: RecBoleConfig, prepared: Prepared, engine: Engine) -> Built:
    """Create loaders, model and trainer, seeded as `run_recbole` does."""
    train_set, valid_set, test_set = prepared.splits
    samplers = create_samplers(config, prepared.dataset, list(prepared.splits))
    # Not data_preparation(), which builds the splits again for every trial.
    train = get_dataloader(config, "train")(config, train_set, samplers[0], shuffle=config["shuffle"])
    valid = get_dataloader(config, "valid")(config, valid_set, samplers[1], shuffle=False)
    test = get_dataloader(config, "test")(config, test_set, samplers[2], shuffle=False)
    init_seed(config["seed"], config["reproducibility"])
    model = engine.model(config, train_set).to(config["device"])
    if config["train_neg_sample_args"].get("dynamic", False):
        train.get_model(model)  # as fit() does, for callers that draw a batch without it
    return Built(engine.trainer(config, model), train, valid, test)


def log_to_stderr() -> None:
    """Write the root logger's messages, which RecBole uses, to standard error without colours."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(RemoveColorFilter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list | tuple) else value
