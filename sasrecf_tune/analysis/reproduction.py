"""A result and its reproduction: which metrics, versions and settings differ."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class MetricPair:
    """One metric, as recorded and as reproduced; None if it is missing."""

    name: str
    recorded: float | None
    now: float | None

    @property
    def same(self) -> bool:
        """Whether both are equal to the last digit; NaN equals NaN."""
        if self.recorded is None or self.now is None:
            return self.recorded is self.now
        return self.recorded == self.now or (math.isnan(self.recorded) and math.isnan(self.now))

    @property
    def difference(self) -> float | None:
        """`now` minus `recorded`, None if one is missing."""
        return None if self.recorded is None or self.now is None else self.now - self.recorded


def compare(part: str, recorded: Mapping[str, float], now: Mapping[str, float]) -> list[MetricPair]:
    """Compare every metric of either; `part` is put before the names."""
    return [
        MetricPair(f"{part}{key}", recorded.get(key), now.get(key))
        for key in dict.fromkeys([*recorded, *now])
    ]


def environment_changes(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return which versions, machine facts, device and threads differ, as name -> (recorded, now).

    Names that were not recorded are left out.
    """
    before, after = _flat(recorded), _flat(now)
    return {
        name: (before[name], value)
        for name, value in after.items()
        if name in before and before[name] != value
    }


def _flat(mapping: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in mapping.items():
        found |= dict(value) if isinstance(value, Mapping) else {key: value}
    return found


def diff_text(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return a line for each key that differs; keys of nested mappings are joined with dots."""
    old, new = _dotted(was), _dotted(now)
    return "\n".join(
        f"  {key}: was {_setting_text(old, key)}, now {_setting_text(new, key)}"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key) or (key in old) != (key in new)
    )


def _dotted(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            flat |= _dotted(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _setting_text(flat: Mapping[str, Any], key: str) -> str:
    return repr(flat[key]) if key in flat else "not set"
