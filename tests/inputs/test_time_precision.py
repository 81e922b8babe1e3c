"""Times that float32 does not tell apart: the note counts the users whose history has another order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasrecf_tune.engine.data_checks import data_directory
from sasrecf_tune.engine.fast.build import FAST
from sasrecf_tune.engine.recbole import make_config, prepare
from sasrecf_tune.inputs import dataset_rows
from sasrecf_tune.inputs.dataset_files import locate
from sasrecf_tune.inputs.dataset_rows import scan
from sasrecf_tune.inputs.time_precision import Fields, TimePrecision
from tests.support.synthetic_data import NAME, base, muted, write_data_set

__all__ = ["muted"]

Row = tuple[str, str, float]


def counts(notes: Sequence[str]) -> tuple[int, int]:
    """The users with another order and those with another last item, as the note says."""
    for note in notes:
        if found := re.search(r"([\d,]+) of [\d,]+ users get another order and ([\d,]+) \(", note):
            order, last = found.groups()
            return int(order.replace(",", "")), int(last.replace(",", ""))
    return 0, 0


def expected(rows: Sequence[Row]) -> tuple[int, int]:
    order = last = 0
    for user in {row[0] for row in rows}:
        own = [row for row in rows if row[0] == user]
        times = np.array([row[2] for row in own])
        exact, rounded = (np.argsort(one, kind="stable") for one in (times, times.astype(np.float32)))
        order += not np.array_equal(exact, rounded)
        last += own[exact[-1]][1] != own[rounded[-1]][1]
    return order, last


def note_of(
    rows: Sequence[Row], texts: Sequence[str], blocks: int = 1, normalized: bool = False
) -> list[str]:
    precision = TimePrecision()
    for part in np.array_split(np.arange(len(rows)), blocks):
        columns = [[rows[i][0].encode(), rows[i][1].encode(), texts[i].encode()] for i in part]
        if columns:
            precision.add(part, *(Fields.of(column) for column in zip(*columns, strict=True)))
    return precision.note("x.inter: timestamp", normalized)


USERS = st.sampled_from(["u", "u1", "u2", "an id of more than eight bytes", "an id of more than eight byteS"])
TIMES = st.integers(1_600_000_000_000, 1_600_000_500_000) | st.integers(0, 10)
ROWS = st.lists(st.tuples(USERS, st.sampled_from(["a", "b", "c"]), TIMES.map(float)), min_size=1, max_size=40)


@given(ROWS, st.sampled_from(["{:.0f}", "{:.1f}", "{!r}", "{:.18e}", "+{:.0f}"]), st.integers(1, 4))
def test_the_users_that_a_comparison_of_both_orders_finds(rows: list[Row], style: str, blocks: int) -> None:
    notes = note_of(rows, [style.format(row[2]) for row in rows], blocks)
    assert counts(notes) == expected(rows)
    assert bool(notes) == bool(counts(notes)[0])


@pytest.mark.parametrize(
    ("start", "distance"),
    [
        (1_600_000_000, "128 s"),
        (880_000_000, "64 s"),
        (1_600_000_000_000, "131 s"),
        (1_600_000_000_000_000, "134 s"),
        (20_000_000, "2"),
    ],
)
def test_the_distance_is_in_seconds_where_times_count_from_1970(start: int, distance: str) -> None:
    rows = [("u", "a", start + 1.0), ("u", "b", float(start))]
    (note,) = note_of(rows, [f"{row[2]:.0f}" for row in rows])
    assert f"float32 numbers, which are {distance} apart: 1 of 1 users get" in note and "1 (100.0%)" in note


def test_times_that_recbole_normalizes_are_compared_as_it_stores_them() -> None:
    rows = [("u", "a", 1_600_000_001.0), ("u", "b", 1_600_000_000.0), ("v", "a", 1_600_000_100.0)]
    texts = [f"{row[2]:.0f}" for row in rows]
    assert counts(note_of(rows, texts)) == (1, 1)
    assert note_of(rows, texts, normalized=True) == []


def test_a_time_that_is_not_a_number_is_left_to_others() -> None:
    assert note_of([("u", "a", 0.0)] * 2, ["2020-01-31", "5"]) == []


def settings(**changes: Any) -> dict[str, Any]:
    names = {"USER_ID_FIELD": "user_id", "ITEM_ID_FIELD": "item_id", "TIME_FIELD": "timestamp"}
    formats = {"field_separator": "\t", "encoding": "utf-8", "benchmark_filename": None}
    formats |= {"normalize_field": None, "normalize_all": None}
    return names | formats | {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}} | changes


def test_ml_100k() -> None:
    data = locate("ml-100k", None)
    (note,) = scan(data, settings())
    assert "which are 64 s apart" in note and "149 (15.8%) another last item" in note
    assert counts([note]) == (908, 149)
    assert scan(data, settings(encoding="utf-16")) == ()  # not scanned


@pytest.fixture
def milliseconds(tmp_path: Path) -> Path:
    """A data set with times within a few minutes, some of them in quoted fields."""
    data = write_data_set(tmp_path)
    path = data / NAME / f"{NAME}.inter"
    head, *lines = path.read_text().splitlines()
    changed = []
    for number, line in enumerate(lines):
        user, item, time = line.split("\t")
        exact = 1_600_000_000_000 + 7_001 * int(time) + number
        changed.append(f'"{user}"\t{item}\t{exact}' if number % 9 == 0 else f"{user}\t{item}\t{exact}")
    path.write_text("\n".join([head, *changed]) + "\n")
    return data


def sasrec(data: Path) -> dict[str, Any]:
    """A configuration without the item file, which does not list all items."""
    load = {"inter": ["user_id", "item_id", "timestamp"]}
    return base(data) | {"model": "SASRec", "load_col": load, "numerical_features": []}


def last_items(data: Path) -> dict[str, str]:
    """The item that RecBole tests each user on."""
    dataset = (prepared := prepare(make_config(sasrec(data)), FAST)).dataset
    test = prepared.splits[2].inter_feat
    users, items = (dataset.field2id_token[name] for name in ("user_id", "item_id"))
    pairs = zip(test["user_id"].tolist(), test["item_id"].tolist(), strict=True)
    return {str(users[user]): str(items[item]) for user, item in pairs}


def test_recbole_tests_other_items_once_times_are_ranks(
    milliseconds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_rows, "_BLOCK", 1000)
    config = make_config(sasrec(milliseconds))
    note = scan(data_directory(config), config)
    before = last_items(milliseconds)
    path = milliseconds / NAME / f"{NAME}.inter"
    head, *lines = path.read_text().splitlines()
    times = [int(line.split("\t")[2]) for line in lines]
    rank = {time: place for place, time in enumerate(sorted(set(times)), 1)}
    ranked = [line.rpartition("\t")[0] + f"\t{rank[time]}" for line, time in zip(lines, times, strict=True)]
    path.write_text("\n".join([head, *ranked]) + "\n")
    after = last_items(milliseconds)
    assert scan(data_directory(config), config) == ()
    assert counts(note)[1] == sum(before[user] != after[user] for user in before) > 0
