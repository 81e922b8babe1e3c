"""Differences between recorded settings."""

from __future__ import annotations

from sasrecf_tune.analysis.reproduction import diff_text


def test_a_difference_names_every_key() -> None:
    shown = diff_text({"a": {"b": 1, "c": 2}, "d": None}, {"a": {"b": 1, "c": 3}, "e": "x"})
    assert shown.splitlines() == [
        "  a.c: was 2, now 3",
        "  d: was None, now not set",
        "  e: was not set, now 'x'",
    ]
