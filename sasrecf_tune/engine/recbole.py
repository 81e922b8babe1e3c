"""RecBole's configuration, data and trainer, with a workaround for each of its problems.

Sources: RecBole 1.2.1, recbole/config/configurator.py, recbole/data/utils.py, recbole/trainer/trainer.py.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Mapping
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
    from recbole.utils import EvaluatorType, get_model, init_seed
    from recbole.utils.logger import RemoveColorFilter

    from sasrecf_tune.engine.recbole_shims import numpy_1_names, patch_pandas_3

from typing_extensions import override

from sasrecf_tune.errors import DataError, TuneError, UnknownReasonError
from sasrecf_tune.inputs.dataset_columns import TIMES_ARE_NUMBERS, check_columns
from sasrecf_tune.inputs.dataset_faults import nothing_left, unreadable_number
from sasrecf_tune.inputs.dataset_files import DatasetFiles, locate
from sasrecf_tune.inputs.feature_columns import check_together
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


# The message of the error in RecBole's Trainer (trainer.py, _check_nan).
NOT_A_NUMBER = "Training loss is nan"


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
        raise _preparation_error(error, config) from error
    _check_finite(dataset, config)
    train, valid, test = splits
    for name, split in (("training", train), ("validation", valid)):
        if len(split) == 0:
            raise DataError(
                f"the {name} split is empty ({users} users, {items} items after filtering)",
                where=str(config["data_path"]),
                fix=f"The split is {config['eval_args']['split']}: change it, or filter less. "
                + _enough(config["eval_args"]["split"]),
            )
    _check_labels(valid, config)
    # Only token2id() reads it, and training does not call that: it would use memory in each worker.
    dataset.field2token_id.clear()
    return Prepared(dataset, (train, valid, test))


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


def _preparation_error(error: Exception, config: RecBoleConfig) -> TuneError:
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


def _check_finite(dataset: Any, config: RecBoleConfig) -> None:
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


class RecordingTrainerMixin:
    """A mixin for RecBole's Trainer: keeps the last validation's metrics, and the best weights in memory.

    RecBole's own checkpoint pickles the whole Config, which torch >= 2.6 does not load. Its name is made of
    the time in seconds, so parallel trials may overwrite each other's.

    Attributes:
        last_valid: The metrics of the last validation.
        best_epoch: The epoch of the best validation, from 1.
        best_state: The weights after that epoch, on the CPU.
    """

    last_valid: dict[str, float]
    best_epoch: int
    best_state: dict[str, torch.Tensor]

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, dict[str, float]]:
        # Without this check NaN scores would give high metrics: topk puts NaN first.
        model: torch.nn.Module = self.model  # type: ignore[attr-defined]
        if not torch.stack([weight.detach().isfinite().all() for weight in model.parameters()]).all():
            raise ValueError(NOT_A_NUMBER)
        score, result = super()._valid_epoch(valid_data, show_progress)  # type: ignore[misc]
        self.last_valid = self.as_numbers(result)
        return self.as_numbers({"score": score})["score"], result

    def as_numbers(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        """Return RecBole's metrics as they are rounded: 0.8124 is 0.8123999834 once it has been a float32."""
        decimals = int(self.config["metric_decimal_place"])  # type: ignore[attr-defined]
        return {key: round(float(value), decimals) for key, value in metrics.items()}

    def _neg_sample_batch_eval(self, batched_data: tuple[Any, ...]) -> tuple[Any, ...]:
        # As RecBole's. But where an item is a candidate of several targets of a user, RecBole writes all its
        # scores to one place at once: with one thread the last one stays, with several threads any of them.
        trainer: Any = self
        interaction, users, positive_u, positive_i = batched_data
        if interaction.length <= trainer.test_batch_size:
            scores = trainer.model.predict(interaction.to(trainer.device))
        else:
            scores = trainer._spilt_predict(interaction, interaction.length)
        if trainer.config["eval_type"] == EvaluatorType.VALUE:
            return interaction, scores, positive_u, positive_i
        items = interaction[trainer.config["ITEM_ID_FIELD"]].to(users.device)
        last = last_of_each(users * trainer.tot_item_num + items)
        table = torch.full((int(positive_u[-1]) + 1, trainer.tot_item_num), -torch.inf, device=trainer.device)
        table[users[last].to(trainer.device), items[last].to(trainer.device)] = scores[last.to(scores.device)]
        return interaction, table, positive_u, positive_i

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **_: object) -> None:
        self.best_epoch = epoch + 1
        model: torch.nn.Module = self.model  # type: ignore[attr-defined]
        self.best_state = {
            name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()
        }


def last_of_each(values: torch.Tensor) -> torch.Tensor:
    """Return the place of the last occurrence of each value, in the order of the values."""
    ordered, places = torch.sort(values, stable=True)
    is_last = torch.ones_like(ordered, dtype=torch.bool)
    is_last[:-1] = ordered[1:] != ordered[:-1]
    return places[is_last]


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
