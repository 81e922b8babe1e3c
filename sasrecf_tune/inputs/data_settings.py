"""Checks of the settings that say what RecBole reads from its files and how it filters it."""

from __future__ import annotations

import codecs
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

from sasrecf_tune.errors import ConfigFileError, ParameterError
from sasrecf_tune.inputs.literals import MOST, Value, is_count, is_number

# Encodings of domain names: decoding a text takes the square of its length.
_OF_NAMES = ("idna", "punycode")
# Of a regular expression, in which they do not stand for themselves.
_SPECIAL = set(".^$*+?{}[]\\|()")
FILES = ("inter", "user", "item", "kg", "link", "net")


def load_col_text(columns: Mapping[str, Any]) -> str:
    """How to write `load_col` behind `--set`: all columns are a star in quotes, as YAML requires.

    Example:
        >>> print(load_col_text({"inter": ["user_id", "item_id"], "item": "*"}))
        load_col={inter: [user_id, item_id], item: '*'}
    """

    text = yaml.safe_dump(
        dict(columns), default_flow_style=True, sort_keys=False, allow_unicode=True, width=math.inf
    )
    return f"load_col={text.rstrip()}"


def check_columns_by_file(name: str, value: Value) -> Iterator[ParameterError]:
    """What is wrong with a value of `load_col`, `unload_col` or `unused_col`: columns for each file."""
    assert isinstance(value, dict)
    example = f'For example: --set "{name}={{inter: [user_id, item_id, timestamp], item: [item_id, class]}}".'
    for file, names in value.items():
        everything = name == "load_col" and names == "*"
        if not everything and not (isinstance(names, list) and all(isinstance(one, str) for one in names)):
            yield ParameterError(f"`{name}` needs a list of columns for {file}, not {names!r}", fix=example)


def check_encoding(value: Value) -> Iterator[ParameterError]:
    """What is wrong with a value of `encoding`, which is the name of one of Python's."""
    try:
        "\n".encode(str(value))
        usable = codecs.lookup(str(value)).name not in _OF_NAMES
    except (LookupError, ValueError):
        usable = False
    if not usable:
        yield ParameterError(
            f"`encoding` must name an encoding of text, not {value!r}", fix="For example utf-8."
        )


def check_value_intervals(value: Value, is_interval: Callable[[Value], bool]) -> Iterator[ParameterError]:
    """What is wrong with a value of `val_interval`: an interval or a list of values for each column.

    RecBole skips what is not an interval with a warning, or drops rows at random.

    Source: recbole/data/dataset/dataset.py, _filter_by_field_value.
    """
    assert isinstance(value, dict)
    for column, kept in value.items():
        if not (is_interval(kept) or (isinstance(kept, list) and kept)):
            yield ParameterError(
                f"val_interval of {column} must be an interval or a list of values, not {kept!r}",
                fix=f"For example: --set \"val_interval={{{column}: '[3,inf)'}}\".",
            )


def check_threshold(value: Value) -> Iterator[ParameterError]:
    """What is wrong with a value of `threshold`: one column, and the value from which its label is 1."""
    assert isinstance(value, dict)
    if len(value) != 1 or not all(map(is_number, value.values())):
        yield ParameterError(
            f"threshold must give one column a number, not {value!r}", fix="For example: {rating: 3}."
        )


def check_lengths(value: Value) -> Iterator[ParameterError]:
    """What is wrong with a value of `seq_len`: a number of values for each sequence column."""
    assert isinstance(value, dict)
    for column, longest in value.items():
        if not is_count(longest):
            yield ParameterError(
                f"seq_len of {column} must be a whole number from 1 to {MOST}, not {longest!r}"
            )


def check_bins(value: Value) -> Iterator[ParameterError]:
    """What is wrong with a value of `discretization`: a method for each column.

    Source: recbole/data/dataset/dataset.py, _discretization.
    """
    assert isinstance(value, dict)
    for column, how in value.items():
        method = how.get("method") if isinstance(how, dict) else None
        bucket = how.get("bucket") if isinstance(how, dict) else None
        if method not in ("ED", "LD") or (method == "ED" and not is_count(bucket)):
            yield ParameterError(
                f"discretization of {column} must be {{method: ED, bucket: 10}} (10 equal bins) or "
                f"{{method: LD}} (logarithms), not {how!r}"
            )


def check_parts(value: Value) -> Iterator[ParameterError]:
    """What is wrong with a value of `benchmark_filename`: the names of three parts."""
    if not isinstance(value, list) or len(value) != 3 or not all(isinstance(one, str) for one in value):
        yield ParameterError(
            f"benchmark_filename must name three parts (training, validation, test), not {value!r}",
            fix="For example: benchmark_filename=[train, valid, test], for files NAME.train.inter, ...",
        )


def check_not_empty(name: str, value: Value) -> Iterator[ParameterError]:
    """What is wrong with a separator, or with a part of column names."""
    if value == "":
        yield ParameterError(f"`{name}` must not be empty", fix="Remove it: RecBole has a default.")


def check_separator(value: Value) -> Iterator[ParameterError]:
    """What is wrong with `field_separator`: pandas takes one of several characters for a pattern."""
    yield from check_not_empty("field_separator", value)
    if len(str(value)) > 1 and set(str(value)) & _SPECIAL:
        yield ParameterError(
            "`field_separator` must be one character, or several without any of "
            f"{''.join(sorted(_SPECIAL))}, not {value!r}",
            fix="Write the files with another separator, such as a tab.",
        )


def check_suffixes(value: Value) -> Iterator[ParameterError]:
    """What is wrong with a value of `additional_feat_suffix`."""
    for suffix in value if isinstance(value, list) else []:
        if suffix in ("inter", "user", "item"):
            yield ParameterError(f"additional_feat_suffix has {suffix!r}, which RecBole reads anyway")


def check_combinations(config: Mapping[str, Any]) -> None:
    """Check RecBole's complete configuration for data settings that exclude each other.

    Raises:
        ConfigFileError: RecBole refuses the combination.
    """
    load, unload = config["load_col"] or {}, config["unload_col"] or {}
    for file in unload:
        if load.get(file) not in (None, "*", []) and unload[file]:
            raise ConfigFileError(
                f"load_col and unload_col cannot both name columns of {file}; load_col is {load[file]!r}",
                where="unload_col",
                fix=f'To read all columns but those: --set "{load_col_text({**load, file: "*"})}".',
            )
    if config["normalize_all"] is True and config["normalize_field"] is not None:
        raise ConfigFileError(
            "normalize_field and normalize_all cannot both be set",
            where="normalize_field",
            fix="Remove one of them.",
        )
    for column in config["discretization"] or {}:
        if column not in (config["numerical_features"] or []):
            raise ConfigFileError(
                f"column {column!r} is not in numerical_features",
                where="discretization",
                fix=f'Add it: --set "numerical_features=[{column}]".',
            )
    users, items = set(config["alias_of_user_id"] or []), set(config["alias_of_item_id"] or [])
    users, items = users | {config["USER_ID_FIELD"]}, items | {config["ITEM_ID_FIELD"]}
    for column in sorted(map(str, users & items)):
        raise ConfigFileError(
            f"column {column!r} is numbered both as a user and as an item",
            where="alias_of_user_id, alias_of_item_id",
            fix="Keep it in one of them; USER_ID_FIELD and ITEM_ID_FIELD must differ.",
        )
