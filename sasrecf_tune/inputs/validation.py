"""Checks a search space and a base configuration against the table of RecBole's keys, before any work."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
from sasrecf_tune.inputs.foreign_parameters import foreign_mistake
from sasrecf_tune.inputs.hyperparameters import MODELS, SASRECF, TABLE, Hyperparameter
from sasrecf_tune.inputs.literals import Value
from sasrecf_tune.inputs.name_matching import misspelt, similar
from sasrecf_tune.inputs.other_names import NOT_SETTINGS
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
from sasrecf_tune.inputs.unused_settings import has_effect, known_elsewhere
from sasrecf_tune.inputs.value_checks import check_value


def check_config(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A base configuration with its values normalised; those of settings without effect are not checked.

    Raises:
        ConfigFileError: a wrong value, or a misspelt key.
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
    if any(has_effect(key, model) for model in MODELS):
        return check_value(key, _as_value(key, value))
    # RecBole ignores a key that it does not know, so a misspelt one would go unnoticed.
    if not known_elsewhere(key) and (meant := misspelt(key, _settings())):
        raise ParameterError(f"unknown setting `{key}`: did you mean `{meant}`?")
    try:
        return _as_value(key, value)
    except ParameterError:
        return str(value)


def _settings(*models: str) -> list[str]:
    """The settings that have an effect on one of `models`, by default on any."""
    return [key for key in TABLE if any(has_effect(key, model) for model in models or MODELS)]


def _as_value(key: str, value: Any) -> Value:
    """`value` with lists for tuples, if a configuration can hold it: YAML also knows dates and sets."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_as_value(key, inner) for inner in value]
    if isinstance(value, dict):  # a column may have a number for a name
        return {str(inner): _as_value(key, nested) for inner, nested in value.items()}
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


def check_space(space: SearchSpace, model: str = SASRECF) -> None:
    """Check every name and every possible value of a search space for `model`.

    Raises:
        ParamsFileError: a mistake, at its place in the params file.
        InputErrors: several mistakes.
    """
    with MistakeCollector() as mistakes:
        mistakes.add(*space_mistakes(tuple(space), model))


def space_mistakes(parameters: Sequence[Parameter], model: str = SASRECF) -> list[ParamsFileError]:
    """What is wrong with the names and the values of the parameters of `model`, in any order."""
    searchable = [key for key in _settings(model) if TABLE[key].tunable != "no"]
    foreign: list[Parameter] = []
    found: list[ParamsFileError] = []
    for parameter in parameters:
        name, known = parameter.name, TABLE.get(parameter.name)
        if known and model in known.models:
            found += _parameter_mistakes(parameter, known)
        elif name in NOT_SETTINGS:
            what = f"`{name}` cannot be searched: it is not a hyperparameter"
            fix = f"Use {NOT_SETTINGS[name]}." if NOT_SETTINGS[name] else ""
            found.append(ParamsFileError(what, at=parameter.at_name, fix=fix))
        elif not known_elsewhere(name) and (near := misspelt(name, searchable) or similar(name, searchable)):
            what = f"unknown parameter `{name}`: did you mean `{near}`?"
            found.append(ParamsFileError(what, at=parameter.at_name))
        else:
            foreign.append(parameter)
    return [*found, foreign_mistake(foreign, parameters, model)] if foreign else found


def _parameter_mistakes(parameter: Parameter, known: Hyperparameter) -> list[ParamsFileError]:
    if known.tunable == "no" or (known.tunable == "fixed" and parameter.size != 1):
        fix = f"Give all trials one value: {known.name} choice [VALUE]" if known.tunable == "fixed" else ""
        what = f"`{known.name}` cannot be searched: {known.why_not}"
        return [ParamsFileError(what, at=parameter.at_name, fix=fix)]
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
