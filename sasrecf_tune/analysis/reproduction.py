"""A result and its repetition: which metrics differ, and what else does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Compared:
    """One metric, recorded and now; None where there is none."""

    name: str
    recorded: float | None
    now: float | None

    @property
    def same(self) -> bool:
        """To the last digit; two that are no numbers are the same."""
        if self.recorded is None or self.now is None:
            return self.recorded is self.now
        return self.recorded == self.now or (math.isnan(self.recorded) and math.isnan(self.now))

    @property
    def difference(self) -> float | None:
        """How much more it is now."""
        return None if self.recorded is None or self.now is None else self.now - self.recorded


def compare(part: str, recorded: Mapping[str, float], now: Mapping[str, float]) -> list[Compared]:
    """Every metric of either; `part` stands before the names."""
    return [
        Compared(f"{part}{key}", recorded.get(key), now.get(key)) for key in dict.fromkeys([*recorded, *now])
    ]


def circumstances(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What differs of versions, machine, device and threads: name -> (recorded, now).

    What was not recorded is no difference.
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
    """One line for each key that differs, keys of nested mappings joined with dots."""
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
