"""Whether the numbers of several studies are of one kind: the same data, evaluated in the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sasrecf_tune.inputs.hyperparameters import COMPARABILITY_KEYS, TABLE

# What is left after filtering: the manifest's key, and what it is.
_COUNTS = {
    "users": "users",
    "items": "items that are ranked",
    "interactions": "interactions",
    "valid_samples": "validation samples",
    "test_samples": "test samples",
}


@dataclass(frozen=True)
class Measured:
    """How a study was measured: `data` as in its manifest, `config` RecBole's as far as it was given."""

    name: str
    metric: str
    dataset: str
    data: Mapping[str, Any]
    config: Mapping[str, Any]


def obstacles(studies: Sequence[Measured]) -> list[str]:
    """What makes their numbers incomparable, a line for each thing that differs; none where nothing does."""
    asked = [
        {
            "data": f"{study.dataset}, fingerprint {study.data.get('fingerprint')}",
            "metric": study.metric,
            **{key: _setting(key, study.config) for key in COMPARABILITY_KEYS},
        }
        for study in studies
    ]
    # What follows from other data or filters need not be said.
    return _differing(studies, asked) or _differing(
        studies, [{text: study.data.get(key) for key, text in _COUNTS.items()} for study in studies]
    )


def _differing(studies: Sequence[Measured], facts: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for key in facts[0]:
        of: dict[str, list[str]] = {}
        for study, known in zip(studies, facts, strict=True):
            value = known[key]
            count = isinstance(value, int) and not isinstance(value, bool)
            of.setdefault(f"{value:,}" if count else str(value), []).append(study.name)
        if len(of) > 1:
            each = "; ".join(f"{value} in {', '.join(names)}" for value, names in of.items())
            lines.append(f"{key}: {each}")
    return lines


def _setting(key: str, config: Mapping[str, Any]) -> Any:
    """As RecBole completes it."""
    known, value = TABLE[key], config.get(key)
    if key == "eval_args":
        assert isinstance(known.default, dict)
        full = {**known.default, **(value or {})}
        mode = full["mode"]
        return full | {"mode": mode if isinstance(mode, dict) else {"valid": mode, "test": mode}}
    return known.default if value is None else value
