"""What differs between two nested mappings, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def difference(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """One line for each key that differs, keys of nested mappings joined with dots."""
    old, new = _flat(was), _flat(now)
    return "\n".join(
        f"  {key}: was {_shown(old, key)}, now {_shown(new, key)}"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key) or (key in old) != (key in new)
    )


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _shown(flat: Mapping[str, Any], key: str) -> str:
    return repr(flat[key]) if key in flat else "not set"
