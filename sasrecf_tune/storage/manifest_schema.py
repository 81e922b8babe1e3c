"""The values in a manifest that anything reads, and their kinds.

A study directory may come from somebody else, or be damaged. Keys that are not here are shown as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, TypedDict

import msgspec

# What SQLite stores, and what every program can print.
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Fact = str | int | float | bool | None
# UnicodeEncodeError: half a surrogate pair; OverflowError: an infinite number where one is rounded.
UNREADABLE = (msgspec.ValidationError, UnicodeEncodeError, OverflowError)
_PLACE = re.compile(r" - at `(?:key in )?\$\.?(.*)`$", re.DOTALL)
_MISSING = re.compile("missing required field `(.*?)`")


class _Pruner(TypedDict):
    name: str


class _Way(TypedDict):
    """How earlier trials were searched."""

    sampler: str
    pruner: _Pruner
    until: NotRequired[str]


class _Data(TypedDict, total=False):
    """`DataSummary`."""

    dataset: str
    train_samples: _Count
    valid_samples: _Count
    test_samples: _Count
    item_columns: list[str]
    epochs: _Count
    device: str
    threads: _Count
    notes: list[str]
    place: str
    versions: dict[str, str]


class _PlannedData(_Data):
    users: _Count
    items: _Count
    interactions: _Count
    fingerprint: str
    metric_keys: list[str]


class _Provenance(TypedDict, total=False):
    sasrecf_tune: str | None
    updated: str | None
    command: list[str] | None
    machine: dict[str, _Fact] | None
    versions: dict[str, str | None] | None


class _Confirmation(_Provenance, total=False):
    top: _Count
    trials: list[_Count]
    seeds: list[_Count]
    device: str
    threads: _Count


class Recorded(TypedDict, total=False):
    """Every manifest."""

    sasrecf_tune: str
    created: str
    updated: str
    command: list[str]
    later_commands: list[list[str]]
    machine: dict[str, _Fact]
    versions: dict[str, str | None]
    study: str
    model: str
    dataset: str
    metric: str
    maximize: bool
    seed: _Count
    engine: str
    params_file: str
    space: str
    config: dict[str, Any]
    search: dict[str, Any]
    storage: str | None
    executor: str
    address: str
    log: list[str]
    identity: dict[str, Any]
    data: _Data
    sampler: str
    pruner: _Pruner
    planned_trials: _Count | None
    earlier: list[_Way]
    confirmation: _Confirmation


class Planned(TypedDict):
    """What else is in the manifest of a study whose search has begun."""

    model: str
    dataset: str
    updated: str
    data: _PlannedData
    sampler: str
    pruner: _Pruner


class Settings(TypedDict):
    """What settings are read from; no default may stand for these."""

    params_file: str
    dataset: str
    model: str
    metric: str
    seed: _Count
    engine: str
    space: str
    config: dict[str, Any]
    search: dict[str, Any]


def wrong_value(content: Mapping[str, Any], kind: type) -> str:
    """Say what in a manifest is missing or of another kind than `kind` has; "" if nothing is."""
    try:
        msgspec.convert(content, kind)
    except UNREADABLE as error:
        return value_text(error)
    return ""


def value_text(error: Exception) -> str:
    """Name the value that msgspec refused, in the words of the manifest."""
    text = str(error)
    found = _PLACE.search(text)
    place = found[1] if found else ""
    if missing := _MISSING.search(text):
        return f"`{place}.{missing[1]}` is missing" if place else f"`{missing[1]}` is missing"
    return f"the value of `{place}` is invalid" if place else "a value is invalid"
