"""RecBole's atomic files, checked before RecBole reads them: where they are and what columns they have."""

from __future__ import annotations

import codecs
import glob
import hashlib
import importlib.util
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sasrecf_tune.environment import install_command
from sasrecf_tune.errors import DataError, suggest

TYPES = ("token", "token_seq", "float", "float_seq")


@dataclass(frozen=True)
class DatasetFiles:
    """The files `NAME.inter`, `NAME.item`, ... of a data set in the directory `path`.

    `part` is one of benchmark_filename, RecBole's setting for ready-made splits: NAME.PART.inter.
    """

    name: str
    path: Path
    part: str = ""

    @property
    def interactions(self) -> Path:
        """The file of interactions, or of those of `part`."""
        return self.interactions_of(self.part)

    def interactions_of(self, part: str) -> Path:
        """The file of interactions of a part, "" for all interactions."""
        return self.file(f"{part}.inter" if part else "inter")

    def file(self, suffix: str) -> Path:
        """The file with this suffix, such as ml-100k.inter."""
        return self.path / f"{self.name}.{suffix}"

    def files(self) -> list[Path]:
        """All files of the data set, sorted by name."""
        found = self.path.glob(f"{glob.escape(self.name)}.*")
        return sorted(file for file in found if file.is_file())


def locate(dataset: str, data_path: str | None, part: str = "") -> DatasetFiles:
    """The files of `dataset` where RecBole looks for them; ml-100k is always inside the recbole package.

    Raises:
        DataError: the directory or its `.inter` file is missing.
    """
    if any("\ud800" <= character <= "\udfff" for character in dataset):  # RecBole encodes the name
        raise DataError(
            f"the name {dataset!r} is not UTF-8",
            where="--dataset",
            fix="Rename the directory and its files; or, if it is UTF-8, set LC_ALL=C.UTF-8.",
        )
    if not dataset or dataset != Path(dataset).name or dataset in {".", ".."}:
        raise DataError(f"{dataset!r} is not a data set name")
    if dataset == "ml-100k":
        package = importlib.util.find_spec("recbole")
        if package is None or package.origin is None:
            raise DataError("RecBole is not installed", fix=f"Install it with the rest: {install_command()}")
        directory = Path(package.origin).parent / "dataset_example" / dataset
    else:
        directory = Path(data_path or "dataset/") / dataset
    found = DatasetFiles(dataset, directory, part)
    try:
        there = found.interactions.is_file()
    except OSError as error:  # the name is too long, or the directory is not readable
        raise DataError(f"cannot read: {error.strerror}", where=str(found.interactions)[:200]) from error
    if not there:
        raise DataError(
            f"no data set {dataset!r}: {found.interactions} does not exist",
            fix=(
                f"Set --data-path to the directory that contains {dataset}/{dataset}.inter; "
                "only ml-100k comes with RecBole."
            ),
        )
    return found


def text_format(config: Mapping[str, Any]) -> tuple[str, str]:
    """Field separator and encoding of all files, from RecBole's complete configuration."""
    return str(config["field_separator"]), str(config["encoding"] or "utf-8")


def columns(file: Path, separator: str = "\t", encoding: str = "utf-8") -> dict[str, str]:
    """The columns of an atomic file with their types, from its first line; {} if there is no such file.

    Raises:
        DataError: the first line does not consist of `name:type` fields.
    """
    if not file.is_file():
        return {}
    try:
        with file.open("rb") as lines:
            # In an encoding in which the byte 0x0a ends a line, no more than the first line is decoded.
            has_byte_lines = "\n".encode(encoding)[-1:] == b"\n"
            reader = io.BytesIO(lines.readline(1 << 20)) if has_byte_lines else lines
            line = codecs.getreader(encoding)(reader).readline(1 << 20).rstrip("\r\n")
    except OSError as error:
        raise DataError(f"cannot read: {error.strerror or error}", where=str(file)) from error
    except (UnicodeDecodeError, LookupError) as error:
        raise DataError(
            f"the first line is not {encoding}: {error}",
            where=f"{file}:1",
            fix="Save the file in that encoding, or give its encoding: --set encoding=NAME.",
        ) from error
    if line.startswith("\ufeff"):
        raise DataError(
            "begins with a byte order mark, which RecBole reads as part of the first column's name",
            where=f"{file}:1",
            fix="Save it as UTF-8 without one, or: --set encoding=utf-8-sig",
        )
    found: dict[str, str] = {}
    for field in line.split(separator):
        name, colon, kind = field.partition(":")
        if not colon or kind not in TYPES or not name:
            raise DataError(
                f"the first line must be fields such as item_id:token, but one is {field[:60]!r}",
                where=f"{file}:1",
                fix=f"Types are {', '.join(TYPES)}; fields are separated by {separator!r}.",
            )
        if name in found:
            raise DataError(f"column {name!r} occurs twice in the first line", where=f"{file}:1")
        found[name] = kind
    return found


def check_columns(
    data: DatasetFiles, config: Mapping[str, Any], features: tuple[str, ...]
) -> tuple[str, ...]:
    """Check that the columns that the model reads exist and are loaded.

    Args:
        config: RecBole's complete configuration.
        features: Item columns that the model takes. Without any, the item file is checked only if RecBole is
            told to load it.

    Returns:
        The item columns that could be features.

    Raises:
        DataError: names what is missing, what there is, and what to set.
    """
    inter = _interaction_columns(data, config)
    ids = [str(config[key]) for key in ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD")]
    item_id, item_file = str(config["ITEM_ID_FIELD"]), data.file("item")
    # RecBole embeds the id once more if it is a feature, also without an item file.
    features = tuple(name for name in features if name != item_id)
    if not features and not reads_items(data, config):
        _check_loaded(data, config, {"inter": ids})
        return ()
    separator, encoding = text_format(config)
    if not item_file.is_file():
        raise DataError(
            "the file does not exist, and SASRecF takes item features from it "
            f"(selected_features: {', '.join(features)})",
            where=str(item_file),
            fix=f"Create it: a first line of fields such as {item_id}:token and {features[0]}:token, with "
            f"{separator!r} between, then one row per item. selected_features says which columns to use: "
            f'--set "selected_features=[{features[0]}]".',
        )
    item = columns(item_file, separator, encoding)
    for feature in features:
        _check_feature(feature, item, item_id, item_file, config["numerical_features"] or [])
    _check_names(data, config, inter, item)
    _check_loaded(data, config, {"inter": ids, "item": [item_id, *features]})
    return tuple(name for name in item if name != item_id)


def _interaction_columns(data: DatasetFiles, config: Mapping[str, Any]) -> dict[str, str]:
    inter = columns(data.interactions, *text_format(config))
    for key, kind in (("USER_ID_FIELD", "token"), ("ITEM_ID_FIELD", "token"), ("TIME_FIELD", "float")):
        name = str(config[key])
        if name not in inter:
            raise DataError(
                f"there is no column {name!r} ({key})",
                where=str(data.interactions),
                fix=f"Its columns: {', '.join(inter)}. Set {key} to one of them: --set {key}=NAME.",
            )
        if inter[name] != kind:
            raise DataError(
                f"column {name!r} ({key}) must have type {kind}, not {inter[name]}",
                where=f"{data.interactions}:1",
            )
    return inter


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


def reads_items(data: DatasetFiles, config: Mapping[str, Any]) -> bool:
    """Whether RecBole reads the item file.

    Source: recbole/data/dataset/dataset.py, _load_user_or_item_feat.
    """
    load = config["load_col"]
    return data.file("item").is_file() and (load is None or "item" in load)


def _check_names(
    data: DatasetFiles, config: Mapping[str, Any], inter: Mapping[str, str], item: Mapping[str, str]
) -> None:
    """Check item columns for names that RecBole uses: it puts them beside the history's columns unchecked."""
    listed = "*" if config["load_col"] is None else config["load_col"].get("item") or []
    taken = {str(config[key]) for key in ("USER_ID_FIELD", "TIME_FIELD", "ITEM_LIST_LENGTH_FIELD")}
    taken |= {name + str(config["LIST_SUFFIX"]) for name in inter}
    taken.add(f"{config['NEG_PREFIX']}{config['ITEM_ID_FIELD']}")
    for name in item:
        if name in taken and (listed == "*" or name in listed):
            raise DataError(
                f"the item column {name!r} has a name that RecBole gives to a column of its own",
                where=f"{data.file('item')}:1",
                fix="Rename it in the file, or remove it from load_col.",
            )


def _check_loaded(data: DatasetFiles, config: Mapping[str, Any], needed: Mapping[str, list[str]]) -> None:
    """Check that RecBole loads the `needed` columns of each file.

    Source: recbole/data/dataset/dataset.py, _get_load_and_unload_col.
    """
    for source, names in needed.items():
        for name in names:
            if name in ((config["unload_col"] or {}).get(source) or []):
                raise DataError(f"column {name!r} is needed, but unload_col drops it", where="unload_col")
    load = config["load_col"]
    if load is None:
        return
    complete: dict[str, Any] = dict(load)
    missing: list[str] = []
    for source, names in needed.items():
        listed = load.get(source) or []
        if listed != "*":
            missing += [f"{name} ({data.name}.{source})" for name in names if name not in listed]
            complete[source] = list(dict.fromkeys([*listed, *names]))
    if missing:
        text = ", ".join(
            f"{source}: {names if names == '*' else '[' + ', '.join(names) + ']'}"
            for source, names in complete.items()
        )
        raise DataError(
            f"columns are needed that RecBole is not told to load: {', '.join(missing)}",
            where="load_col",
            fix=f'Load them: --set "load_col={{{text}}}" (or the same in a config file).',
        )


def fingerprint(data: DatasetFiles) -> str:
    """A hash of the names and contents of all files of the data set, as 16 hex digits."""
    digest = hashlib.sha256()
    for file in data.files():
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]
