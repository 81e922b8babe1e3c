"""RecBole's atomic files, looked at before RecBole reads them: where they are, what columns they have."""

from __future__ import annotations

import codecs
import hashlib
import importlib.util
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sasrecf_tune.environment import install_command
from sasrecf_tune.errors import DataError, suggest

TYPES = ("token", "token_seq", "float", "float_seq")


@dataclass(frozen=True)
class DatasetFiles:
    """The directory that holds `NAME.inter`, `NAME.item`, ..."""

    name: str
    path: Path
    part: str = ""  # of benchmark_filename, RecBole's way to take ready-made splits: NAME.PART.inter

    @property
    def interactions(self) -> Path:
        """The file of interactions, or the first of its parts."""
        return self.interactions_of(self.part)

    def interactions_of(self, part: str) -> Path:
        """The file of interactions of a part, "" for that of all."""
        return self.file(f"{part}.inter" if part else "inter")

    def file(self, suffix: str) -> Path:
        """Such as ml-100k.inter."""
        return self.path / f"{self.name}.{suffix}"

    def files(self) -> list[Path]:
        """All files of the data set, by name."""
        found = self.path.glob(f"{glob_escape(self.name)}.*")
        return sorted(file for file in found if file.is_file())


def locate(dataset: str, data_path: str | None, part: str = "") -> DatasetFiles:
    """Where RecBole will look for `dataset`; for ml-100k that is always inside the recbole package.

    Raises:
        DataError: there is no such directory, or no `.inter` file in it.
    """
    if not dataset or dataset != Path(dataset).name or dataset in {".", ".."}:
        raise DataError(f"{dataset!r} is no data set's name", where="--dataset")
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
    except OSError as error:  # a name that is too long, or a directory that may not be looked into
        raise DataError(f"cannot read: {error.strerror}", where=str(found.interactions)[:200]) from error
    if not there:
        raise DataError(
            f"no data set {dataset!r}: there is no {found.interactions}",
            where="--dataset",
            fix=(
                f"--data-path names the directory that holds {dataset}/{dataset}.inter; "
                "only ml-100k comes with RecBole."
            ),
        )
    return found


def text_format(config: Mapping[str, Any]) -> tuple[str, str]:
    """Separator of fields and encoding of all files, from RecBole's complete configuration."""
    return str(config["field_separator"]), str(config["encoding"] or "utf-8")


def columns(file: Path, separator: str = "\t", encoding: str = "utf-8") -> dict[str, str]:
    """Column -> type from the first line of an atomic file, {} when the file does not exist.

    Raises:
        DataError: the first line is not `name:type` fields.
    """
    if not file.is_file():
        return {}
    try:
        with file.open("rb") as lines:
            # Where a line feed is the byte of that number, what comes after the first line is not looked at.
            plain = "\n".encode(encoding)[-1:] == b"\n"
            reader = io.BytesIO(lines.readline(1 << 20)) if plain else lines
            line = codecs.getreader(encoding)(reader).readline(1 << 20).rstrip("\r\n")
    except OSError as error:
        raise DataError(f"cannot read: {error.strerror or error}", where=str(file)) from error
    except (UnicodeDecodeError, LookupError) as error:
        raise DataError(
            f"the first line is not {encoding}: {error}",
            where=f"{file}:1",
            fix="Save the file in that encoding, or name its own with --set encoding=NAME.",
        ) from error
    if line.startswith("\ufeff"):
        raise DataError(
            "begins with a byte order mark, which RecBole takes for a part of the first column's name",
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
            raise DataError(f"column {name!r} stands twice in the first line", where=f"{file}:1")
        found[name] = kind
    return found


def check_columns(
    data: DatasetFiles, config: Mapping[str, Any], features: tuple[str, ...]
) -> tuple[str, ...]:
    """Check that the columns the model reads are in the files and loaded; returns the item columns.

    `config` is RecBole's complete configuration, `features` are the item columns that the model takes.
    Without any, the file of items is looked at only where RecBole is told to load it.

    Raises:
        DataError: names what is missing, what there is, and what to set.
    """
    separator, encoding = text_format(config)
    inter = columns(data.interactions, separator, encoding)
    for key, kind in (("USER_ID_FIELD", "token"), ("ITEM_ID_FIELD", "token"), ("TIME_FIELD", "float")):
        name = str(config[key])
        if name not in inter:
            raise DataError(
                f"there is no column {name!r} ({key})",
                where=str(data.interactions),
                fix=f"Its columns: {', '.join(inter)}. Set {key} to the right one with --set {key}=NAME.",
            )
        if inter[name] != kind:
            raise DataError(
                f"column {name!r} ({key}) must have type {kind}, not {inter[name]}",
                where=f"{data.interactions}:1",
            )
    ids = [str(config[key]) for key in ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD")]
    item_id = str(config["ITEM_ID_FIELD"])
    if not features and not reads_items(data, config):
        _check_loaded(data, config, {"inter": ids})
        return ()
    if not data.file("item").is_file():
        raise DataError(
            "there is no such file, and SASRecF takes item features from it "
            f"(selected_features: {', '.join(features)})",
            where=str(data.file("item")),
            fix=f"Put it there: a first line of fields such as {item_id}:token and {features[0]}:token with "
            f"{separator!r} between, then a row for each item. selected_features says which columns to use: "
            f'--set "selected_features=[{features[0]}]".',
        )
    item = columns(data.file("item"), separator, encoding)
    usable = tuple(name for name in item if name != item_id)
    for feature in features:
        if feature not in usable:
            if usable:
                fix = (
                    f"Its feature columns: {', '.join(usable)}. Choose from them, for example "
                    f'--set "selected_features=[{usable[-1]}]".'
                )
            else:
                fix = "SASRecF needs item features: columns of this file beside the item's id."
            raise DataError(
                f"selected_features has {feature!r}, but the data set has no such item column"
                + suggest(feature, usable),
                where=str(data.file("item")),
                fix=fix,
            )
        if item[feature] == "float_seq":
            # sasrecf.py counts such a column once for each of its buckets, layers.py embeds it once.
            raise DataError(
                f"the column {feature!r} has type float_seq, which RecBole 1.2.1's SASRecF cannot embed",
                where=str(data.file("item")),
                fix=f"Leave it out of selected_features{_others(feature, item, item_id)}.",
            )
        if item[feature].startswith("float") and feature not in (config["numerical_features"] or []):
            # recbole/model/layers.py would leave the column out and then fail on shapes.
            raise DataError(
                f"the column {feature!r} has type {item[feature]}, which RecBole embeds only when told to",
                where=str(data.file("item")),
                fix=f'Add it: --set "numerical_features=[{feature}]".',
            )
    _check_names(data, config, inter, item)
    _check_loaded(data, config, {"inter": ids, "item": [item_id, *features]})
    return usable


def reads_items(data: DatasetFiles, config: Mapping[str, Any]) -> bool:
    """Whether RecBole will read the file of items (data/dataset/dataset.py, _load_user_or_item_feat)."""
    load = config["load_col"]
    return data.file("item").is_file() and (load is None or "item" in load)


def _others(feature: str, item: Mapping[str, str], item_id: str) -> str:
    names = [name for name, kind in item.items() if kind != "float_seq" and name not in (feature, item_id)]
    return f"; there are {', '.join(names)}" if names else ""


def _check_names(
    data: DatasetFiles, config: Mapping[str, Any], inter: Mapping[str, str], item: Mapping[str, str]
) -> None:
    """RecBole puts an item's columns beside those of the history, and does not mind equal names."""
    listed = "*" if config["load_col"] is None else config["load_col"].get("item") or []
    taken = {str(config[key]) for key in ("USER_ID_FIELD", "TIME_FIELD", "ITEM_LIST_LENGTH_FIELD")}
    taken |= {name + str(config["LIST_SUFFIX"]) for name in inter}
    taken.add(f"{config['NEG_PREFIX']}{config['ITEM_ID_FIELD']}")
    for name in item:
        if name in taken and (listed == "*" or name in listed):
            raise DataError(
                f"the item column {name!r} has a name that RecBole gives to a column of its own",
                where=f"{data.file('item')}:1",
                fix="Rename it in the file, or leave it out of load_col.",
            )


def _check_loaded(data: DatasetFiles, config: Mapping[str, Any], needed: Mapping[str, list[str]]) -> None:
    """RecBole loads only what load_col lists (data/dataset/dataset.py, _get_load_and_unload_col)."""
    for source, names in needed.items():
        for name in names:
            if name in ((config["unload_col"] or {}).get(source) or []):
                raise DataError(f"the column {name!r} is needed, but unload_col drops it", where="unload_col")
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
            fix=f'Load them: --set "load_col={{{text}}}" (or the same line in a config file).',
        )


def fingerprint(data: DatasetFiles) -> str:
    """A hash (16 hex digits) of all files of the data set, names and bytes."""
    digest = hashlib.sha256()
    for file in data.files():
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]


def glob_escape(name: str) -> str:
    """`name` with the characters that mean something in a glob taken literally."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
