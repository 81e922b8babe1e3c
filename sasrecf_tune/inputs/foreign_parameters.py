"""The lines of a params file that are not parameters of the model: one mistake for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sasrecf_tune.errors import ParamsFileError, in_words
from sasrecf_tune.inputs.hyperparameters import TABLE
from sasrecf_tune.inputs.other_names import NOT_SETTINGS, OURS
from sasrecf_tune.inputs.recbole_keys import models_with, recbole_keys
from sasrecf_tune.inputs.search_space import Parameter

_MOST_MODELS = 3
_LIST = "docs/reference/parameters.md lists the parameters."


def is_foreign(name: str, model: str) -> bool:
    """Whether only other models of RecBole than `model` have the parameter `name`."""
    if name in TABLE:
        return model not in TABLE[name].models
    return name in recbole_keys() and name not in NOT_SETTINGS


def foreign_mistake(
    foreign: Sequence[Parameter], parameters: Sequence[Parameter], model: str
) -> ParamsFileError:
    """The mistake that `foreign`, some of `parameters`, are of other models than `model`, or of none.

    It is at the first of them. It names the models that they look like: those that have all that RecBole
    knows, best the one that the file is named after, or those that have most of the other parameters too.
    """
    first, *rest = foreign
    names = in_words(
        [f"`{first.name}`", *(f"`{p.name}`{f' (line {p.at.line})' if p.at else ''}" for p in rest)]
    )
    known = [p.name for p in foreign if is_foreign(p.name, model)]
    if not known:
        what = f"unknown parameter{'s' if rest else ''} {names}"
    else:
        owners = _owners(known, parameters)
        link = ", but of" if len(known) == len(foreign) else "; they look like those of"
        what = f"{names} {'are not parameters' if rest else 'is not a parameter'} of {model}{link} {owners}"
    ours = [f"{OURS[p.name]} in place of {p.name}" for p in foreign if p.name in OURS]
    fixes = [
        f"Remove {'these lines' if rest else 'the line'}." if known else "",
        f"{model} has {in_words(ours)}." if ours else "",
        _LIST if rest or not (known or ours) else "",
    ]
    return ParamsFileError(what, at=first.at_name, fix=" ".join(filter(None, fixes)))


def _owners(names: Sequence[str], parameters: Sequence[Parameter]) -> str:
    alike = models_with(names, (parameter.name for parameter in parameters))
    file = Path(parameters[0].at.file).stem.lower() if parameters[0].at else ""
    owners = sorted(alike, key=lambda owner: owner.lower() not in file)
    if len(owners) > _MOST_MODELS:
        return f"other models of RecBole, such as {in_words(owners[:_MOST_MODELS])}"
    return in_words(owners) if owners else "other models of RecBole"
