"""Finds in the files of a data set why RecBole could not prepare it."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from sasrecf_tune.errors import DataError
from sasrecf_tune.inputs.dataset_columns import TIMES_ARE_NUMBERS
from sasrecf_tune.inputs.dataset_files import DatasetFiles, columns, text_format
from sasrecf_tune.inputs.dataset_rows import MISSING, interaction_files
from sasrecf_tune.inputs.loading import loaded_columns, reads_file

FILTERS = ("user_inter_num_interval", "item_inter_num_interval", "val_interval", "rm_dup_inter")
NO_FILTER = (None, "[0,inf)")
_NO_ROWS = "No filter is set, but RecBole drops rows without ids or with ids missing in other files."


def unreadable_number(
    data: DatasetFiles, config: Mapping[str, Any], lines: int | None = None
) -> DataError | None:
    """The first value of a loaded float column that is not a number, as an error; None if all are numbers.

    Args:
        lines: How many lines of each file to read; None for all.
    """
    separator, encoding = text_format(config)
    between = config["seq_separator"]  # None: any white space
    files = [(path, "inter") for path in interaction_files(data, config)]
    for path, source in [*files, (data.file("user"), "user"), (data.file("item"), "item")]:
        header = (
            columns(path, separator, encoding)
            if source == "inter" or reads_file(data, config, source)
            else {}
        )
        loaded = loaded_columns(data, config, source, header)
        floats = [
            (index, name, kind)
            for index, (name, kind) in enumerate(header.items())
            if kind.startswith("float") and name in loaded
        ]
        if not floats:
            continue
        with path.open(encoding=encoding, errors="replace", newline="") as file:
            for number, line in enumerate(islice(file, lines), 1):
                values = line.rstrip("\r\n").split(separator)
                for index, name, kind in floats:
                    if number == 1 or index >= len(values):
                        continue
                    text = values[index]
                    for value in text.split(between) if kind == "float_seq" else [text]:
                        if not _is_number(value):
                            return DataError(
                                f"column {name!r} has type {kind}, but the value is {value[:60]!r}",
                                where=f"{path}:{number}",
                                fix=_number_fix(name, kind, config),
                            )
    return None


def _number_fix(name: str, kind: str, config: Mapping[str, Any]) -> str:
    """What to do about a column that is not of numbers, so that nothing else refuses it."""
    if name == config["TIME_FIELD"]:
        return TIMES_ARE_NUMBERS
    fix = f"Correct it, or declare the column as {name}:{kind.replace('float', 'token')}"
    if name in (config["numerical_features"] or []):
        return f"{fix} and remove it from numerical_features."
    return f"{fix}."


def nothing_left(data: DatasetFiles, config: Mapping[str, Any]) -> DataError:
    """The error that no interaction, user or item is left after RecBole's filtering."""
    filters = [f"{key}: {config[key]}" for key in FILTERS if config[key] not in NO_FILTER]
    fix = f"The filters are {'; '.join(filters)}. Filter less." if filters else _NO_ROWS
    for name, kept in (config["val_interval"] or {}).items():
        if isinstance(kept, list) and not all(isinstance(value, str) for value in kept):
            fix += f" Values of token columns are text: write those of {name} in quotes."
    return DataError("no interactions are left after filtering", where=str(data.interactions), fix=fix)


def check_ids(data: DatasetFiles, config: Mapping[str, Any]) -> None:
    """Check that users and items of the interactions are in the files that describe them.

    RecBole drops interactions of others, or gives them no features.

    Raises:
        DataError: None are.
    """
    for source, key in (("user", "USER_ID_FIELD"), ("item", "ITEM_ID_FIELD")):
        name, path = str(config[key]), data.file(source)
        if len(str(config["field_separator"])) != 1 or not reads_file(data, config, source):
            continue
        listed = set(_values(path, name, config))
        of_interactions = (
            value for file in interaction_files(data, config) for value in _values(file, name, config)
        )
        first = next(of_interactions, "")
        if first not in listed and listed.isdisjoint(of_interactions):
            raise DataError(
                f"no {name} of {data.interactions.name} is in {path.name}: for example, {first!r} there and "
                f"{next(iter(sorted(listed)), '')!r} here",
                where=str(path),
                fix="The ids of both files must be the same text.",
            )


def _values(path: Path, name: str, config: Mapping[str, Any]) -> Iterator[str]:
    """The values of a column."""
    separator, encoding = text_format(config)
    column = list(columns(path, separator, encoding)).index(name)
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        rows = csv.reader(file, delimiter=separator)
        next(rows)
        for row in rows:
            if len(row) > column:
                yield row[column]


def check_histories(data: DatasetFiles, config: Mapping[str, Any], longest: int) -> None:
    """Check the ready-made histories of benchmark_filename, which RecBole neither cuts nor drops.

    Args:
        longest: The smallest MAX_ITEM_LIST_LENGTH of any trial.

    Raises:
        DataError: A history is empty, or longer than that.
    """
    if not config["benchmark_filename"] or len(str(config["field_separator"])) != 1:
        return
    history = f"{config['ITEM_ID_FIELD']}{config['LIST_SUFFIX']}"
    cut = (config["seq_len"] or {}).get(history)
    for path in interaction_files(data, config):
        for number, text in enumerate(_values(path, history, config), 2):
            items = len(list(filter(None, text.split(config["seq_separator"]))))
            if items == 0 or text.encode() in MISSING:
                raise DataError(
                    f"{history} is empty; words such as NA, null and None are read as missing",
                    where=f"{path}:{number}",
                    fix="Remove rows without a history.",
                )
            if min(items, cut or items) > longest:
                raise DataError(
                    f"{history} has {items} items, more than MAX_ITEM_LIST_LENGTH ({longest}): RecBole "
                    "does not cut ready-made histories",
                    where=f"{path}:{number}",
                    fix="Cut the histories in the file to the last items, or raise MAX_ITEM_LIST_LENGTH.",
                )


def _is_number(text: str) -> bool:
    if text.strip().encode() in MISSING:
        return True
    try:
        return not math.isnan(float(text)) and "_" not in text
    except ValueError:
        return False
