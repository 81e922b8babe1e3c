"""Settings that have no effect here: they are noted, and are neither given to RecBole nor part of a study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sasrecf_tune.errors import in_words
from sasrecf_tune.inputs.hyperparameters import TABLE
from sasrecf_tune.inputs.name_matching import similar
from sasrecf_tune.inputs.other_names import NOT_SETTINGS, OURS
from sasrecf_tune.inputs.recbole_keys import recbole_keys


def has_effect(key: str, model: str) -> bool:
    """Whether a run of `model` reads the setting `key`."""
    known = TABLE.get(key)
    return known is not None and not known.unused and model in known.models


def effective(config: Mapping[str, Any], model: str) -> dict[str, Any]:
    """`config` without the settings that have no effect on `model`."""
    return {key: value for key, value in config.items() if has_effect(key, model)}


def known_elsewhere(key: str) -> bool:
    """Whether `key` is a name of RecBole or of another program, so it is not a misspelt one of ours."""
    return key in TABLE or key in NOT_SETTINGS or key in OURS or key in recbole_keys()


def unused_notes(keys: Iterable[str], model: str) -> list[str]:
    """A line for each reason that some of `keys` have no effect on `model`."""
    by_reason: dict[str, list[str]] = {}
    for key in keys:
        if not has_effect(key, model):
            by_reason.setdefault(_reason(key, model), []).append(f"`{key}`")
    return [
        f"{in_words(names)} {'has' if len(names) == 1 else 'have'} no effect{reason}"
        for reason, names in by_reason.items()
    ]


def _reason(key: str, model: str) -> str:
    """Why `key` has no effect, and what to use in its place."""
    known = TABLE.get(key)
    instead = known.instead if known else NOT_SETTINGS.get(key) or OURS.get(key)
    use = f"; use {instead}" if instead else ""
    if key in NOT_SETTINGS or (known and (known.instead or known.group == "environment")):
        return f" here{use}"
    if known or not recbole_keys():  # RecBole is not installed
        return f": not read by {model}{use}"
    if key in recbole_keys():
        return f": only read by other models of RecBole{use}"
    if not use:
        near = similar(key, [name for name in (*TABLE, *OURS) if name in OURS or has_effect(name, model)])
        use = f"; did you mean {OURS.get(near, f'`{near}`')}?" if near else ""
    return f": unknown to RecBole{use}"
