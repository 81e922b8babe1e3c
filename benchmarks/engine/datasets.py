"""The data sets that are measured, and the RecBole configuration of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sasrecf_tune.errors import DataError
from sasrecf_tune.inputs.config_files import read_base
from sasrecf_tune.inputs.constraints import resolve
from sasrecf_tune.inputs.dataset_files import DatasetFiles, columns, fingerprint, locate

ML_100K = "ml-100k"
# RecBole's names of the columns that SASRecF reads (recbole/properties/dataset/sample.yaml).
_INTER = ("user_id", "item_id", "timestamp")
_COMMON = ("class", "categories")

# SASRecF's defaults, explicit so that a later RecBole cannot change what is measured.
_SETTINGS: dict[str, Any] = {
    "model": "SASRecF",
    "MAX_ITEM_LIST_LENGTH": 50,
    "hidden_size": 64,
    "inner_size": 256,
    "n_heads": 2,
    "hidden_dropout_prob": 0.5,
    "attn_dropout_prob": 0.5,
    "loss_type": "CE",
    "train_batch_size": 2048,
    "seed": 2020,
}


@dataclass(frozen=True)
class Dataset:
    """A data set in RecBole's atomic files; `parent` is None for the one in the recbole package."""

    name: str
    parent: Path | None
    item_columns: tuple[str, ...]

    def fingerprint(self) -> str:
        """Return a hash of its files."""
        return fingerprint(self._files())

    def directory(self) -> Path:
        """Return the directory of its files."""
        return self._files().path

    def _files(self) -> DatasetFiles:
        return locate(self.name, None if self.parent is None else str(self.parent))


def find_datasets(directory: str) -> list[Dataset]:
    """Return the data sets of `directory`: ml-100k, NAME's own directory, or one that holds NAME/NAME.inter.

    Raises:
        DataError: there is no data set.
    """
    if directory == ML_100K:
        return [_read_dataset(ML_100K, None)]
    path = Path(directory).resolve()
    if not path.is_dir():
        raise DataError("no such directory", where=f"--data {directory}")
    if (path / f"{path.name}.inter").is_file():
        return [_read_dataset(path.name, path.parent)]
    found = sorted(child.name for child in path.iterdir() if (child / f"{child.name}.inter").is_file())
    if not found:
        raise DataError(
            f"holds neither NAME/NAME.inter nor {path.name}.inter itself", where=f"--data {directory}"
        )
    return [_read_dataset(name, path) for name in found]


def choose_features(data: Sequence[Dataset], asked: Sequence[str]) -> list[tuple[str, ...]]:
    """Return for each data set the item features of `asked` that it has; of the common ones by default.

    Raises:
        DataError: a data set has none of them, or a feature is in no data set.
    """
    wanted = asked or _COMMON
    for name in asked:
        if not any(name in one.item_columns for one in data):
            raise DataError(f"no data set has an item column {name!r}", where="--features")
    chosen = [tuple(name for name in wanted if name in one.item_columns) for one in data]
    for one, features in zip(data, chosen, strict=True):
        if not features:
            raise DataError(
                f"{one.name} has none of the item columns {', '.join(wanted)}; it has "
                f"{', '.join(one.item_columns) or 'none at all'}",
                where="--features",
            )
    return chosen


def training_config(
    data: Dataset, features: tuple[str, ...], layers: int, overrides: Sequence[str]
) -> dict[str, Any]:
    """Return the RecBole configuration of one comparison; `overrides` are KEY=VALUE settings.

    Raises:
        ConfigFileError: an override is not KEY=VALUE, or its value is invalid.
    """
    config = _SETTINGS | {"dataset": data.name, "selected_features": list(features)}
    # Only columns that training reads: stock RecBole pads every column that it loads.
    config["load_col"] = {"inter": list(_INTER), "item": ["item_id", *features]}
    if data.parent is not None:
        config["data_path"] = str(data.parent)
    return resolve(config | read_base([], overrides) | {"n_layers": layers})


def _read_dataset(name: str, parent: Path | None) -> Dataset:
    files = locate(name, None if parent is None else str(parent))
    missing = [column for column in _INTER if column not in columns(files.interactions)]
    if missing:
        raise DataError(f"has no column {', '.join(missing)}", where=str(files.interactions))
    item = tuple(column for column in columns(files.file("item")) if column != "item_id")
    return Dataset(name, parent, item)
