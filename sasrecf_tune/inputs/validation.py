"""Values against the table of parameters, before anything is loaded."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sasrecf_tune.errors import (
    ConfigFileError,
    InputError,
    Location,
    ParameterError,
    ParamsFileError,
    suggest,
)
from sasrecf_tune.inputs.hyperparameters import MODELS, SASRECF, TABLE, Hyperparameter
from sasrecf_tune.inputs.literals import Value, from_string, is_number
from sasrecf_tune.inputs.search_space import Choice, Int, Parameter, QUniform, SearchSpace

_INTERVAL = re.compile(r"[\[(]([^,;]+),([^,;]+)[\])]")
# torch.nn.utils.clip_grad_norm_
_CLIPPING = ("max_norm", "norm_type", "error_if_nonfinite", "foreach")
# What each key holds (recbole/config/configurator.py and sampler/sampler.py), and whether a value is that.
_NEGATIVES: Mapping[str, tuple[str, Callable[[Value], bool]]] = {
    "distribution": (
        "uniform or popularity",
        lambda value: value in ("uniform", "popularity", "none", "None"),
    ),
    "sample_num": ("a whole number from 1", lambda value: _is_whole(value, 1)),
    "alpha": ("a number from 0", lambda value: is_number(value) and value >= 0),
    "dynamic": ("True or False", lambda value: isinstance(value, bool)),
    "candidate_num": ("a whole number from 0", lambda value: _is_whole(value, 0)),
}


def check_value(name: str, value: Value) -> Value:
    """`value` as RecBole must get it for the known key `name`: 64.0 becomes 64 for a whole number.

    Raises:
        ParameterError: the wrong type, or out of range.
    """
    known = TABLE[name]
    if value is None and (known.optional or known.kind == "any"):
        return None
    checked = _of_kind(known, value)
    if known.choices and checked not in known.choices:
        near = suggest(str(checked), map(str, known.choices)) if isinstance(checked, str) else ""
        raise _wrong(known, value, near)
    if is_number(checked):
        below = checked <= known.low if known.open_low else checked < known.low
        if below or checked > known.high or (isinstance(checked, float) and not math.isfinite(checked)):
            raise _wrong(known, value)
    _check_inside(known, checked)
    return checked


def check_config(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A base configuration with its values normalised; keys of the user's own are let through.

    Raises:
        ConfigFileError: a wrong value, or a key that is nearly one of RecBole's.
    """
    checked: dict[str, Any] = {}
    for key, value in config.items():
        if key not in TABLE:
            # RecBole ignores what it does not know, so a slip of the pen would go unnoticed.
            if near := suggest(key, TABLE, cutoff=0.85):
                raise ConfigFileError(f"unknown setting `{key}`{near}", where=where)
            checked[key] = _plain(key, value, where)
            continue
        try:
            checked[key] = check_value(key, _plain(key, value, where))
        except ParameterError as error:
            raise ConfigFileError(error.what, where=where, fix=error.fix) from error
    return checked


def check_model(model: str) -> str:
    """`model`, one that can be tuned.

    Raises:
        InputError: it is none of those.
    """
    if model not in MODELS:
        raise InputError(
            f"model {model!r} cannot be tuned{suggest(model, MODELS)}",
            where="--model",
            fix=f"This tuner is for {' and '.join(MODELS)}, spelt like that.",
        )
    return model


def check_keys(keys: Iterable[str], model: str, where: str) -> None:
    """Check that `model` has all of the configuration's `keys`: RecBole ignores what a model has not.

    Raises:
        ConfigFileError: names those that it has not.
    """
    if foreign := [key for key in keys if _is_foreign(key, model)]:
        raise ConfigFileError(
            _not_of(foreign, model),
            where=where,
            fix=f"Leave {_them(foreign)} out; with a config file for both models, give {_them(foreign)} to "
            f"{SASRECF} by --set.",
        )


def check_space(space: SearchSpace, model: str = SASRECF) -> None:
    """Check every name and every possible value of a space of `model`'s.

    Raises:
        ParamsFileError: at the place of what is wrong.
    """
    _check_fits(space, model)
    for parameter in space:
        known = TABLE.get(parameter.name)
        if known is None:
            near = suggest(parameter.name, (n for n, p in TABLE.items() if p.tunable != "no"))
            fix = "" if near else "README lists the parameters; others can be fixed with --set."
            raise _at(parameter, f"unknown parameter `{parameter.name}`{near}", fix, name=True)
        if known.tunable == "no" or (known.tunable == "fixed" and parameter.size != 1):
            fix = (
                f"One value for all trials is fine: {known.name} choice [VALUE]"
                if known.tunable == "fixed"
                else ""
            )
            raise _at(parameter, f"`{known.name}` cannot be searched: {known.why_not}", fix, name=True)
        _check_values(parameter, known)


def _check_fits(space: SearchSpace, model: str) -> None:
    foreign = [parameter for parameter in space if _is_foreign(parameter.name, model)]
    if foreign:
        lines = ", ".join(f"{p.at.line} ({p.name})" if p.at else p.name for p in foreign)
        plural = "s" * (len(foreign) > 1)
        raise _at(
            foreign[0],
            _not_of([parameter.name for parameter in foreign], model),
            f"Take out line{plural} {lines}, or give {model} a params file of its own.",
            name=True,
        )


def _is_foreign(name: str, model: str) -> bool:
    return name in TABLE and model not in TABLE[name].models


def _not_of(names: Sequence[str], model: str) -> str:
    listed = " and ".join(f"`{name}`" for name in names)
    what = "are no parameters" if len(names) > 1 else "is no parameter"
    return f"{listed} {what} of {model}, which takes no item features"


def _them(names: Sequence[str]) -> str:
    return "them" if len(names) > 1 else "it"


def _check_values(parameter: Parameter, known: Hyperparameter) -> None:
    if isinstance(parameter, Choice):
        for index, value in enumerate(parameter.choices):
            try:
                checked = check_value(known.name, value)
            except ParameterError as error:
                raise _at(parameter, error.what, error.fix, index=index) from error
            if type(checked) is not type(value) and not isinstance(value, str):
                raise _at(parameter, f"{value!r} must be written {checked!r}", index=index)
        return
    if known.kind not in ("int", "float"):
        raise _at(parameter, f"`{known.name}` is {known.range_text}, not a range", _as_choice(known))
    ends = [float(end) for end in parameter.bounds]
    whole = isinstance(parameter, Int) or (isinstance(parameter, QUniform) and parameter.whole)
    if known.kind == "int" and not whole:
        low, high = math.ceil(ends[0]), max(math.ceil(ends[0]) + 1, math.floor(ends[1]))
        raise _at(
            parameter,
            f"`{known.name}` takes whole numbers, which {parameter.write().split()[1]} does not give",
            f"Write: {known.name} int {low},{high}",
        )
    for end in ends:
        try:
            check_value(known.name, int(end) if known.kind == "int" else end)
        except ParameterError as error:
            raise _at(parameter, error.what, error.fix) from error


def _of_kind(known: Hyperparameter, value: Value) -> Value:
    match known.kind:
        case "int":
            if isinstance(value, float) and value.is_integer():
                return int(value)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
        case "float":
            if is_number(value):
                return value
        case "bool":
            if isinstance(value, bool):
                return value
        case "str":
            if isinstance(value, str):
                return value
        case "list":
            value = from_string(value) if isinstance(value, str) else value
            if isinstance(value, list):
                return value
        case "dict":
            value = from_string(value) if isinstance(value, str) else value
            if isinstance(value, dict):
                return value
        case _:
            return value
    raise _wrong(known, value)


def _check_inside(known: Hyperparameter, value: Value) -> None:
    """What a list or a mapping must hold."""
    if known.name == "selected_features":
        assert isinstance(value, list)
        if not value or not all(isinstance(name, str) for name in value):
            raise ParameterError(
                f"selected_features must name at least one item column, not {value!r}",
                fix="For example: selected_features choice [['class'], ['class', 'release_year']]",
            )
        if len(set(map(str, value))) < len(value):
            raise ParameterError(f"selected_features names a column twice: {value!r}")
    elif known.name == "train_neg_sample_args" and isinstance(value, dict):
        for key, inner in value.items():
            if key not in _NEGATIVES:
                raise ParameterError(f"train_neg_sample_args has no `{key}`{suggest(key, _NEGATIVES)}")
            meaning, right = _NEGATIVES[key]
            if not right(inner):
                raise ParameterError(f"{key} of train_neg_sample_args must be {meaning}, not {_short(inner)}")
        if value.get("dynamic") and not value.get("candidate_num"):
            raise ParameterError(
                "dynamic negatives of train_neg_sample_args need a candidate_num of at least 1"
            )
    elif known.name == "clip_grad_norm" and isinstance(value, dict):
        norm = value.get("max_norm")
        for key in value:
            if key not in _CLIPPING:
                raise ParameterError(f"clip_grad_norm has no `{key}`{suggest(key, _CLIPPING)}")
        if not (is_number(norm) and norm > 0):
            raise ParameterError(f"clip_grad_norm needs a max_norm above zero, not {value!r}")
        kind = value.get("norm_type", 2)
        if kind != "inf" and not (is_number(kind) and kind > 0):
            raise ParameterError(f"norm_type of clip_grad_norm is a number above zero or inf, not {kind!r}")
        for key in ("error_if_nonfinite", "foreach"):
            if not isinstance(value.get(key, False), bool) and (key, value[key]) != ("foreach", None):
                raise ParameterError(f"{key} of clip_grad_norm is True or False, not {value[key]!r}")
    elif known.name == "metrics" and not _are_all(value, lambda name: isinstance(name, str)):
        raise ParameterError(f"metrics are names, not {_short(value)}", fix="For example [NDCG, MRR].")
    elif known.name == "topk" and not _are_all(value, lambda k: _is_whole(k, 1)):
        raise ParameterError(
            f"topk are whole numbers from 1, not {_short(value)}", fix="For example [5, 10]."
        )
    elif known.name.endswith("_inter_num_interval") and not is_interval(value):
        raise ParameterError(f"{known.name} is {value!r}, not an interval", fix='For example "[5,inf)".')


def _are_all(value: Value, right: Callable[[Value], bool]) -> bool:
    """RecBole takes one value for a list of it."""
    return bool(value) and all(map(right, value if isinstance(value, list) else [value]))


def _is_whole(value: Value, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def is_interval(value: Value) -> bool:
    """Whether RecBole reads `value` as an interval such as "[5,inf)", or several with `;`.

    RecBole skips a part that is none (data/dataset/dataset.py, _parse_intervals_str), so data would
    silently stay unfiltered.
    """
    return isinstance(value, str) and all(map(_is_one_interval, value.split(";")))


def _is_one_interval(text: str) -> bool:
    match = _INTERVAL.fullmatch(text.strip())
    try:
        return match is not None and float(match.group(1)) <= float(match.group(2))
    except ValueError:
        return False


def _wrong(known: Hyperparameter, value: Value, near: str = "") -> ParameterError:
    return ParameterError(f"`{known.name}` is {known.range_text}, not {_short(value)}{near}")


def _short(value: Value) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _as_choice(known: Hyperparameter) -> str:
    example: list[Value] = list(known.choices[:2]) or [known.default]
    return f"Write for example: {known.name} choice {example!r}"


def _at(
    parameter: Parameter, what: str, fix: str = "", *, index: int | None = None, name: bool = False
) -> ParamsFileError:
    at = parameter.at
    if at is not None and name:
        at = replace(at, column=at.text.index(parameter.name) + 1)
    elif at is not None and index is not None and isinstance(parameter, Choice) and parameter.offsets:
        at = Location(at.file, at.line, parameter.offsets[index] + 1, at.text)
    return ParamsFileError(what, at=at, fix=fix)


def _plain(key: str, value: Any, where: str) -> Value:
    """Only what a configuration can hold: YAML also knows dates and sets."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(key, inner, where) for inner in value]
    if isinstance(value, dict) and all(isinstance(inner, str) for inner in value):
        return {inner: _plain(key, nested, where) for inner, nested in value.items()}
    raise ConfigFileError(f"`{key}` holds a {type(value).__name__}, which RecBole does not take", where=where)
