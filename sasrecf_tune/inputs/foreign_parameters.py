"""The lines of a params file that are parameters of other RecBole models: one mistake for all of them."""

from __future__ import annotations

from collections.abc import Sequence

from sasrecf_tune.errors import ParamsFileError, in_words
from sasrecf_tune.inputs.hyperparameters import TABLE
from sasrecf_tune.inputs.other_names import NOT_SETTINGS, OURS
from sasrecf_tune.inputs.recbole_keys import models_with, recbole_keys
from sasrecf_tune.inputs.search_space import Parameter

_MOST_MODELS = 3


def is_foreign(name: str, model: str) -> bool:
    """Whether only other models than `model` have the parameter `name`."""
    if name in TABLE:
        return model not in TABLE[name].models
    return name in recbole_keys() and name not in NOT_SETTINGS


def foreign_mistake(
    foreign: Sequence[Parameter], parameters: Sequence[Parameter], model: str
) -> ParamsFileError:
    """The mistake that `foreign`, which are some of `parameters`, are of other models than `model`.

    It is at the first of them. It names the models that have them all, best those that have the others too.
    """
    first, *rest = foreign
    names = [f"`{first.name}`", *(f"`{p.name}`{f' (line {p.at.line})' if p.at else ''}" for p in rest)]
    verb = "are not parameters" if rest else "is not a parameter"
    what = f"{in_words(names)} {verb} of {model}, but of {_owners(foreign, parameters)}"
    fix = f"Remove {'these lines' if rest else 'the line'}."
    for name in (p.name for p in foreign if p.name in OURS):
        fix += f" {model} has {OURS[name]} in place of {name}."
    if rest:
        fix += " docs/reference/parameters.md lists its parameters."
    return ParamsFileError(what, at=first.at_name, fix=fix)


def _owners(foreign: Sequence[Parameter], parameters: Sequence[Parameter]) -> str:
    owners = models_with((p.name for p in foreign), (p.name for p in parameters))
    if len(owners) > _MOST_MODELS:
        return f"other models of RecBole, such as {in_words(owners[:_MOST_MODELS])}"
    return in_words(owners) if owners else "other models of RecBole"
