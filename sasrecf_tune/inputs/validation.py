"""Checks a search space and a base configuration against the table of RecBole's keys, before any work."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sasrecf_tune.errors import (
    ConfigFileError,
    InputError,
    MistakeCollector,
    ParameterError,
    ParamsFileError,
    TuneError,
    suggest,
)
from sasrecf_tune.inputs.hyperparameters import MODELS, SASRECF, TABLE, Hyperparameter
from sasrecf_tune.inputs.literals import Value
from sasrecf_tune.inputs.search_space import (
    Choice,
    Int,
    Log,
    LogUniform,
    Parameter,
    QUniform,
    SearchSpace,
    Uniform,
)
from sasrecf_tune.inputs.value_checks import check_value


def check_config(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A base configuration with its values normalised; keys of the user's own are passed on.

    Raises:
        ConfigFileError: a wrong value, or a key that is nearly one of RecBole's.
        InputErrors: several of these.
    """
    checked: dict[str, Any] = {}
    with MistakeCollector() as mistakes:
        for key, value in config.items():
            try:
                checked[key] = _check_setting(key, value)
            except InputError as error:
                mistakes.add(*(ConfigFileError(e.what, where=where, fix=e.fix) for e in error.mistakes))
    return checked


def _check_setting(key: str, value: Any) -> Value:
    if key in TABLE:
        return check_value(key, _as_value(key, value))
    # RecBole ignores a key that it does not know, so a misspelt one would go unnoticed.
    if near := suggest(key, TABLE, cutoff=0.85):
        raise ParameterError(f"unknown setting `{key}`{near}")
    return _as_value(key, value)


def _as_value(key: str, value: Any) -> Value:
    """`value` with lists for tuples, if a configuration can hold it: YAML also knows dates and sets."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_as_value(key, inner) for inner in value]
    if isinstance(value, dict) and all(isinstance(inner, str) for inner in value):
        return {inner: _as_value(key, nested) for inner, nested in value.items()}
    raise ParameterError(f"`{key}` holds a {type(value).__name__}, which RecBole does not take")


def check_model(model: str, where: str = "--model") -> str:
    """`model`, which `where` names, if it can be tuned.

    Raises:
        InputError: it cannot.
    """
    if model not in MODELS:
        raise InputError(
            f"model {model!r} cannot be tuned{suggest(model, MODELS)}",
            where=where,
            fix=f"The models that can be tuned are {' and '.join(MODELS)}.",
        )
    return model


def check_keys(keys: Iterable[str], model: str, where: str) -> None:
    """Check that `model` has all `keys` of a configuration: RecBole ignores others without a message.

    Raises:
        ConfigFileError: `model` lacks a key.
        InputErrors: it lacks several.
    """
    fix = f"Leave it out. If a config file is for both models, set it for {SASRECF} with --set."
    with MistakeCollector() as mistakes:
        for key in keys:
            if key in TABLE and model not in TABLE[key].models:
                mistakes.add(ConfigFileError(_not_a_parameter(key, model), where=where, fix=fix))


def check_space(space: SearchSpace, model: str = SASRECF) -> None:
    """Check every name and every possible value of a search space for `model`.

    Raises:
        ParamsFileError: a mistake, at its place in the params file.
        InputErrors: several mistakes.
    """
    with MistakeCollector() as mistakes:
        for parameter in space:
            mistakes.add(*parameter_mistakes(parameter, model))


def parameter_mistakes(parameter: Parameter, model: str = SASRECF) -> list[ParamsFileError]:
    """What is wrong with the name or the values of a parameter of `model`."""
    known = TABLE.get(parameter.name)
    if known is None:
        near = suggest(parameter.name, (key for key, row in TABLE.items() if row.tunable != "no"))
        fix = "" if near else "docs/reference/parameters.md lists the parameters; set others with --set."
        return [_name_mistake(parameter, f"unknown parameter `{parameter.name}`{near}", fix)]
    if model not in known.models:
        fix = f"Remove the line, or give {model} a params file of its own."
        return [_name_mistake(parameter, _not_a_parameter(known.name, model), fix)]
    if known.tunable == "no" or (known.tunable == "fixed" and parameter.size != 1):
        fix = f"Give all trials one value: {known.name} choice [VALUE]" if known.tunable == "fixed" else ""
        return [_name_mistake(parameter, f"`{known.name}` cannot be searched: {known.why_not}", fix)]
    return _choice_mistakes(parameter) if isinstance(parameter, Choice) else _range_mistakes(parameter, known)


def _choice_mistakes(parameter: Choice) -> list[ParamsFileError]:
    found: list[ParamsFileError] = []
    for index, value in enumerate(parameter.choices):
        for mistake in _value_mistakes(parameter.name, value):
            at = parameter.at
            if at is not None and parameter.offsets:
                at = replace(at, column=parameter.offsets[index] + 1)
            found.append(ParamsFileError(mistake.what, at=at, fix=mistake.fix))
    return found


def _range_mistakes(
    parameter: Uniform | QUniform | LogUniform | Int | Log, known: Hyperparameter
) -> list[ParamsFileError]:
    if known.kind not in ("int", "float"):
        example: list[Value] = list(known.choices[:2]) or [known.default]
        fix = f"Write for example: {known.name} choice {example!r}"
        what = f"`{known.name}` must be {known.range_text}, not a range"
        return [ParamsFileError(what, at=parameter.at, fix=fix)]
    low, high = map(float, parameter.bounds)
    whole = isinstance(parameter, Int) or (isinstance(parameter, QUniform) and parameter.whole)
    if known.kind == "int" and not whole:
        what = f"`{known.name}` takes whole numbers, which {parameter.kind} does not give"
        fix = f"Write: {known.name} int {math.ceil(low)},{max(math.ceil(low) + 1, math.floor(high))}"
        return [ParamsFileError(what, at=parameter.at, fix=fix)]
    bounds: list[Value] = [int(low), int(high)] if known.kind == "int" else [low, high]
    return [
        ParamsFileError(mistake.what, at=parameter.at, fix=mistake.fix)
        for bound in bounds
        for mistake in _value_mistakes(known.name, bound)
    ]


def _value_mistakes(name: str, value: Value) -> Sequence[TuneError]:
    try:
        check_value(name, value)
    except InputError as error:
        return error.mistakes
    return ()


def _name_mistake(parameter: Parameter, what: str, fix: str) -> ParamsFileError:
    at = parameter.at and replace(parameter.at, column=parameter.at.text.index(parameter.name) + 1)
    return ParamsFileError(what, at=at, fix=fix)


def _not_a_parameter(key: str, model: str) -> str:
    return f"`{key}` is not a parameter of {model}, which takes no item features"
