"""Durations as text: of options, and for people."""

from __future__ import annotations

import math
import re

from sasrecf_tune.errors import InputError


def parse_duration(text: str, where: str = "--timeout") -> float:
    """Convert a duration such as "90m", "1h30m", "45s", "2d" or "3600" to seconds.

    Args:
        text: The duration.
        where: The option, for the error message.

    Raises:
        InputError: The text is not a duration, or is not above zero.
    """
    units = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
    compact = text.strip().lower().replace(" ", "")
    if re.fullmatch(r"\d+(\.\d+)?", compact):
        seconds = float(compact)
    elif re.fullmatch(r"(\d+(\.\d+)?[dhms])+", compact):
        seconds = sum(float(n) * units[u] for n, _, u in re.findall(r"(\d+(\.\d+)?)([dhms])", compact))
    else:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise InputError(f"invalid duration {text!r}", where=where, fix="Examples: 45s, 90m, 2h, 1h30m.")
    return seconds


def format_duration(seconds: float) -> str:
    """Format seconds as "45s", "12m 05s", "3h 20m" or "2d 04h"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02d}h"


def rough_duration(seconds: float) -> str:
    """Format an estimate with about two digits, rounded up: "40s", "12m", "2h 30m" or "3d 06h"."""
    steps = ((60, 10), (600, 60), (3600, 300), (36_000, 1800), (172_800, 3600))
    step = next((step for limit, step in steps if seconds < limit), 21_600)
    return re.sub(r" 00[smh]$", "", format_duration(max(1, math.ceil(seconds / step)) * step))
