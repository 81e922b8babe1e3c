"""RecBole's own loader gives the order of the table: for any times, ties in the order of the file."""

from __future__ import annotations

import contextlib
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sasrecf_tune
from sasrecf_tune.errors import InputError
from sasrecf_tune.importing import time_order
from sasrecf_tune.importing.time_order import LARGEST, exact_times
from sasrecf_tune.importing.times import joined, parse_times, span_of
from tests.importing.raw_tables import histories
from tests.support.synthetic_data import muted

__all__ = ["muted"]

SECONDS = st.integers(1_500_000_000, 1_500_000_200)
MILLISECONDS = st.integers(1_500_000_000_000, 1_500_000_300_000)
NANOSECONDS = st.integers(1_500_000_000_000_000_000, 1_500_000_000_000_000_100)
EARLY = st.integers(-2_000_000_000, 10)
DECIMALS = st.integers(0, 10**6).map(lambda number: f"15000000{number / 1000:06.3f}")
TIMES = st.one_of(
    *(
        st.lists(each.map(str), min_size=6, max_size=30)
        for each in (SECONDS, MILLISECONDS, NANOSECONDS, EARLY)
    ),
    st.lists(DECIMALS, min_size=6, max_size=30),
    st.lists(st.integers(0, 3).map(str), min_size=6, max_size=30),
)


@settings(max_examples=30, deadline=None)
@given(TIMES, st.randoms(use_true_random=False))
def test_recbole_gives_each_user_the_order_of_the_table(times: list[str], draw: object) -> None:
    users = [f"u{draw.randrange(3)}" for _ in times]  # type: ignore[attr-defined]
    items = [f"i{number}" for number in range(len(times))]
    owners = {user for user in users if users.count(user) > 1}
    expected: dict[str, list[str]] = {}
    for place in sorted(range(len(times)), key=lambda place: Fraction(times[place])):  # stable
        expected.setdefault(users[place], []).append(items[place])
    with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
        Path("t.csv").write_text(
            "user_id,item_id,timestamp\n"
            + "".join(f"{u},{i},{t}\n" for u, i, t in zip(users, items, times, strict=True))
        )
        data = sasrecf_tune.import_data("t.csv", "data/t")
        assert data.summary["interactions"] == len(times)
        assert histories(data.config_files) == {user: expected[user] for user in owners}


@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20),
    st.lists(st.integers(0, 2), min_size=20, max_size=20),
    st.sampled_from([1, 2, 5, LARGEST]),
)
def test_any_times_keep_their_order_within_a_user(times: list[int], users: list[int], largest: int) -> None:
    values = np.array(times, dtype=np.int64)
    owner = np.array(users[: len(times)], dtype=np.int32)
    column = parse_times(pd.Series(values), None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time_order, "LARGEST", largest)
        written = exact_times(column, values, owner).values
    assert np.array_equal(written.astype(np.float32).astype(np.int64), written)
    for user in set(owner.tolist()):
        own = owner == user
        order = np.subtract.outer(written[own], written[own])
        exact = [[(a > b) - (a < b) for b in values[own].tolist()] for a in values[own].tolist()]
        assert np.array_equal(np.sign(order), exact)


@pytest.mark.parametrize(
    ("texts", "how", "first", "unit"),
    [
        (["1", "5", "3"], "the times of the table", "1", ""),
        (["1535760000", "1535846400"], "first time, divided by 86,400", "2018-09-01", "seconds since 1970"),
        (
            ["1535760000001", "1535846400002", "1535846400500"],
            "rank",
            "2018-09-01",
            "milliseconds since 1970",
        ),
        (
            ["1535760000000000", "1535760000000001"],
            "the distance from the first time",
            "2018-09-01",
            "microseconds since 1970",
        ),
        (
            ["1535760000000000000", "1535760000000000007"],
            "divided by 7",
            "2018-09-01",
            "nanoseconds since 1970",
        ),
        (["1535760000.5", "1535760000.25"], "divided by 0.25", "2018-09-01", "seconds since 1970"),
        (["2018-09-01", "2018-09-04"], "units of 3 days", "2018-09-01", "dates"),
        (
            ["2018-09-01T12:30:00", "2018-09-01 12:31"],
            "first time in minutes",
            "2018-09-01 12:30:00",
            "dates",
        ),
        (
            ["2018-09-01T12:30:00+02:00", "2018-09-01T10:30:01Z"],
            "first time in seconds",
            "2018-09-01 10:30:00",
            "dates, UTC",
        ),
        (["20180901", "20180902"], "the distance from the first time", "20180901", ""),
    ],
)
def test_what_times_are(texts: list[str], how: str, first: str, unit: str) -> None:
    column = joined([parse_times(pd.Series(texts, dtype=object), None)], "t")
    assert column.valid.all()
    span = span_of(column, column.values)
    assert (span.first, span.unit) == (first, unit)
    assert how in exact_times(column, column.values, np.zeros(len(texts), np.int32)).how


def test_times_of_another_format_and_unreadable_ones() -> None:
    column = parse_times(pd.Series(["01/09/2018", "31/12/2017", "2018-13-13", ""], dtype=object), "%d/%m/%Y")
    assert column.valid.tolist() == [True, True, False, False] and column.missing.tolist() == [False] * 3 + [
        True
    ]
    assert column.values[0] > column.values[1]
    assert parse_times(pd.Series(["5", "x", "7", " "], dtype=object), None).valid.tolist() == [
        True,
        False,
        True,
        False,
    ]
    assert not parse_times(pd.Series(["1_000", "x"], dtype=object), None).valid[1]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([["2018-09-01T10:00:00Z", "2018-09-01T11:00:00"]], "1 times with a time zone and 1 without"),
        ([["2018-09-01"], ["1535760000"]], "dates and numbers"),
    ],
)
def test_times_without_a_common_order_are_refused(parts: list[list[str]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        joined([parse_times(pd.Series(part, dtype=object), None) for part in parts], "t")


def test_columns_of_data_frames() -> None:
    stamps = pd.Series(pd.to_datetime(["2018-09-01 02:00", "NaT", "2018-09-01 00:00"]))
    zoned = stamps.dt.tz_localize("Europe/Berlin")
    for each in (stamps, zoned):
        column = parse_times(each, None)
        assert column.dates and column.valid.tolist() == [True, False, True]
        assert column.values[0] - column.values[2] == 2 * 3600 * 10**9
    floats = parse_times(pd.Series([3.0, float("nan"), 1.0]), None)
    assert floats.values.dtype == np.int64 and floats.missing.tolist() == [False, True, False]
