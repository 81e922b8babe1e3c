"""Whether several studies can be compared: the same data, evaluated in the same way."""

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

# Studies and values that a message names.
_LISTED = 10


@dataclass(frozen=True)
class EvaluationSetup:
    """How a study was evaluated.

    Args:
        data: The key `data` of its manifest.
        config: RecBole's configuration, without defaults.
    """

    name: str
    metric: str
    dataset: str
    data: Mapping[str, Any]
    config: Mapping[str, Any]


def incompatibilities(studies: Sequence[EvaluationSetup]) -> list[str]:
    """Return a line for each difference that makes the metrics of the studies incomparable."""
    settings = [
        {
            "data": f"{study.dataset}, fingerprint {study.data.get('fingerprint')}",
            "metric": study.metric,
            **{key: _setting(key, study.config) for key in COMPARABILITY_KEYS},
        }
        for study in studies
    ]
    # Different data or filters imply different counts.
    return _differing(studies, settings) or _differing(
        studies, [{text: study.data.get(key) for key, text in _COUNTS.items()} for study in studies]
    )


def _differing(studies: Sequence[EvaluationSetup], facts: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for key in facts[0]:
        studies_by_value: dict[str, list[str]] = {}
        for study, known in zip(studies, facts, strict=True):
            value = known[key]
            is_count = isinstance(value, int) and not isinstance(value, bool)
            studies_by_value.setdefault(f"{value:,}" if is_count else str(value), []).append(study.name)
        if len(studies_by_value) > 1:
            parts = [f"{value} in {_listed(names)}" for value, names in studies_by_value.items()]
            more = f"; and {len(parts) - _LISTED} more values" if len(parts) > _LISTED else ""
            lines.append(f"{key}: {'; '.join(parts[:_LISTED])}{more}")
    return lines


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{', '.join(names[:_LISTED])}{more}"


def _setting(key: str, config: Mapping[str, Any]) -> Any:
    """Return the value with RecBole's defaults filled in."""
    known, value = TABLE[key], config.get(key)
    if key == "eval_args":
        assert isinstance(known.default, dict)
        full = {**known.default, **(value or {})}
        mode = full["mode"]
        return full | {"mode": mode if isinstance(mode, dict) else {"valid": mode, "test": mode}}
    return known.default if value is None else value
