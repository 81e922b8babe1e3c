"""Tables that are damaged or odd: each is read whole, or refused with the reason."""

from __future__ import annotations

import datetime
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sasrecf_tune.errors import InputError
from sasrecf_tune.importing.importer import TablesRead, read_tables
from sasrecf_tune.importing.times import joined, parse_times
from sasrecf_tune.inputs.import_settings import ImportSettings
from tests.support.synthetic_data import muted

__all__ = ["muted"]

HEADER = "user_id,item_id,timestamp\n"
CSV = HEADER + "".join(f"u{i % 3},i{i % 4},{i}\n" for i in range(20))
USERS, ITEMS, TIMES = [f"u{i % 3}" for i in range(20)], [f"i{i % 4}" for i in range(20)], list(range(20))


def understood(table: object, items: object = None, **options: object) -> TablesRead:
    read = read_tables(table, items, ImportSettings(**({"out": Path("data/t")} | options)))  # type: ignore[arg-type]
    read.check()
    return read


def file(content: str | bytes, name: str = "t.csv") -> Path:
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    return Path(name)


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (b"\xef\xbb\xbf" + CSV.encode(), {"user": "user_id", "encoding": "utf-8"}),
        (CSV.encode("utf-16"), {"encoding": "latin-1"}),
        (CSV.encode("utf-32"), {}),
        (CSV.encode("utf-16-be"), {"encoding": "utf-16-be"}),
        (CSV.replace("\n", "\r"), {}),
        (CSV.replace("\n", "\r\n", 5).replace("\n", "\r", 2), {}),
        ("   \n\n" + CSV, {}),
        (gzip.compress(CSV.encode()), {}),
    ],
)
def test_a_table_in_an_odd_form_is_read_whole(content: str | bytes, options: dict[str, object]) -> None:
    read = understood(file(content), **options).interactions
    assert (read.user_ids.texts, len(read.item_ids), read.times.values.tolist()) == (
        ["u0", "u1", "u2"],
        4,
        TIMES,
    )


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (CSV, {"encoding": "hex"}, "no encoding 'hex'"),
        (CSV, {"encoding": "rot13"}, "no encoding 'rot13'"),
        (CSV, {"encoding": "utf\0"}, "no encoding"),
        (CSV.replace(",", "::").encode("utf-16"), {}, "'::' of several characters cannot be read in utf-16"),
        (CSV * 5000 + "u\0,i,1\n", {}, "it is not text: it has NUL bytes"),
        (HEADER + f"u,i,{'9' * 30}\nu,i,{'9' * 29}8\n", {}, "neither a number nor an ISO date"),
        (HEADER + "u,i,3000-01-01\nu,i,2018-01-01\n", {}, "of the years 1678 to 2261"),
        (CSV, {"min_rating": float("nan")}, "`--min-rating` must be a number"),
        (CSV, {"rating": "timestamp"}, "cannot be the time and the rating"),
        ("user,item,time,rating\nu,a,1,inf\nv,b,2,1\n", {"rating": "rating"}, "rating is no number"),
        ("{}\n{}\n", {}, "the table has no columns"),
        ("{1: 'a', 'item_id': 'b', 'time': 5}\n", {}, "row 1: this is no JSON object"),
    ],
)
def test_a_table_that_cannot_be_read_whole_is_refused(
    content: str | bytes, options: dict[str, object], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        understood(file(content), **options)
    assert not Path("data").exists()


def test_what_is_no_file_is_not_waited_for() -> None:
    os.mkfifo("pipe")
    with pytest.raises(InputError, match="it is no regular file"):
        understood("pipe")
    file(CSV)
    with pytest.raises(InputError, match="this is no directory"):
        understood("t.csv", out=Path("t.csv/shop"))


def lines(*odd: str) -> str:
    rows = zip(USERS, ITEMS, TIMES, strict=True)
    plain = [json.dumps({"user_id": u, "item_id": i, "timestamp": t}) for u, i, t in rows]
    return "\n".join([*plain, *odd])


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ('{"user_id": ["a"], "item_id": "i", "timestamp": 5}', "has lists or objects, which cannot be ids"),
        ('{"user_id": {}, "item_id": "i", "timestamp": 5}', "has lists or objects, which cannot be ids"),
        ('{"user_id": "\\ud800", "item_id": "i", "timestamp": 5}', "half of a character"),
        ('{"user_id": "a", "item_id": "i", "timestamp": NaN}', "timestamp is empty"),
        ('{"user_id": "a", "item_id": "i", "timestamp": 1e400}', "neither a number nor"),
        ('{"user_id": "a", "item_id": "i", "timestamp": 1', "row 21: this is no JSON object"),
    ],
)
def test_odd_json_is_explained(odd: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        understood(file(lines(odd)))


def test_json_as_python_writes_it_and_in_another_encoding() -> None:
    text = lines('{"user_id": "\u00fc", "item_id": "i", "timestamp": 50, "price": NaN}')
    for encoding, given_encoding in (("utf-8", None), ("utf-16", None), ("latin-1", "latin-1")):
        read = understood(file(text.encode(encoding)), encoding=given_encoding)
        assert read.interactions.user_ids.texts == ["u0", "u1", "u2", "\u00fc"]
    with pytest.raises(InputError, match="it is not utf-8"):
        understood(file(text.encode("latin-1")))


def parquet(**columns: Any) -> Path:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"user_id": USERS, "item_id": ITEMS, "timestamp": TIMES} | columns), "t.parquet")
    return Path("t.parquet")


def test_odd_columns_of_parquet() -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    with pytest.raises(InputError, match="lists or objects"):
        understood(parquet(user_id=[[user] for user in USERS]))
    far = [datetime.datetime(3000, 1, 1 + time) for time in TIMES]
    with pytest.raises(InputError, match="of the years 1678 to 2261"):
        understood(parquet(timestamp=pa.array(far, pa.timestamp("us"))))
    with pytest.raises(InputError, match="neither a number"):
        understood(parquet(timestamp=pa.array([2**64 - 1 - time for time in TIMES], pa.uint64())))
    with pytest.raises(InputError, match="timestamp"):
        understood(parquet(timestamp=pa.array([[time, 2] for time in TIMES])))
    read = understood(parquet(user_id=pa.array([b"u\xff", b"u\xfe"] * 10)))
    assert len(read.interactions.user_ids) == 2
    twice = pa.Table.from_arrays([pa.array(TIMES)] * 2, names=["timestamp", "timestamp"])
    pq.write_table(twice, "t.parquet")
    with pytest.raises(InputError, match="column 'timestamp' occurs twice"):
        understood("t.parquet")


@pytest.mark.parametrize(
    ("items", "options", "said"),
    [
        ("item_id,g\n", {}, "the table has no rows"),
        ("item_id,g\ni0,1\n", {"features": ["item_id:float"]}, "has the ids of the items, and is no feature"),
        ("item_id,g\ni0,1\n", {"features": ["g:float", "g:token"]}, "names 'g' twice"),
        ("item_id,g\ni0,1e999\n", {"features": ["g:float"]}, "row 1 has '1e999'"),
        ("item_id,g\ni0,\u0661\n", {"features": ["g:float"]}, "row 1 has"),
        ("{}\n", {}, "the table has no columns"),
    ],
)
def test_odd_tables_of_items_are_refused(items: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        understood(file(CSV), file(items, "i.csv"), **options)


def test_values_that_have_all_separators_are_written() -> None:
    rows = [f'i{number},"a b|c;d,e/f\x1eg{number}\ud7ff"\n' for number in range(4)]
    read = understood(file(CSV), file("item_id,g\n" + "".join(rows), "i.csv"), features=["g:token_seq:X"])
    assert [path.suffix for path in read.write()] == [".inter", ".item", ".yaml"]


def test_times_whose_scales_have_no_common_range_keep_their_order() -> None:
    parts = [parse_times(pd.Series(texts), None) for texts in (["1600000000000"], ["1.5"])]
    values = joined(parts, "t").values
    assert values[0] > values[1]
    exact = parse_times(pd.Series(["1600000000000000001", "", "1600000000000000002"]), None)
    assert exact.values.tolist()[::2] == [1600000000000000001, 1600000000000000002]


@given(
    st.binary(max_size=300) | st.text(max_size=100).map(str.encode),
    st.sampled_from([b"", CSV.encode(), b'{"user": "a", ']),
)
@settings(max_examples=40, deadline=None)
def test_no_bytes_crash_the_import(tail: bytes, start: bytes) -> None:
    path = file(start + tail)
    for options in ({}, {"encoding": "latin-1", "user": "1", "item": "2", "time": "3", "header": False}):
        try:
            understood(path, drop=["missing", "unreadable", "duplicates"], force=True, **options).write()
        except InputError as error:
            assert error.what
