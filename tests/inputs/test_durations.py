from __future__ import annotations

import pytest

from sasrecf_tune.errors import InputError
from sasrecf_tune.inputs.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45s", 45),
        ("90m", 5400),
        ("1h30m", 5400),
        ("2d", 172800),
        ("3600", 3600),
        ("0.5h", 1800),
        ("1h 5s", 3605),
    ],
)
def test_durations_are_parsed(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-5m", "0", "5x", "nan", "inf", "1e400", "h1"])
def test_invalid_durations_are_rejected(text: str) -> None:
    with pytest.raises(InputError, match="invalid duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0s"), (59, "59s"), (725, "12m 05s"), (12000, "3h 20m"), (187200, "2d 04h")]
)
def test_durations_are_formatted(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
