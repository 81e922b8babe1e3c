"""Data files that are broken: an error that names file and line, or the data that RecBole itself prepares."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sasrecf_tune.engine.data_checks import check_files, data_directory
from sasrecf_tune.engine.fast.build import FAST
from sasrecf_tune.engine.recbole import RECBOLE_ENGINE, Engine, Prepared, make_config, prepare
from sasrecf_tune.errors import DataError
from sasrecf_tune.inputs import dataset_rows
from sasrecf_tune.inputs.dataset_rows import scan
from tests.support.synthetic_data import NAME, base, write_data_set

FEATURES = ["colour", "tags", "price"]


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data_set(tmp_path)


def load(data: Path, engine: Engine, **changes: Any) -> tuple[Prepared, tuple[str, ...]]:
    """What a worker does before the first trial."""
    config = make_config(base(data) | {"selected_features": FEATURES} | changes)
    check_files(config)
    notes = scan(data_directory(config), config)
    return prepare(config, engine), notes


def content(prepared: Prepared) -> list[Any]:
    """All that is learnt from and measured on, as plain lists; NaN does not occur."""
    names = ["user_id", "item_id", "timestamp", "item_length"]
    splits = [[split.inter_feat[name].tolist() for name in names] for split in prepared.splits]
    features = prepared.dataset.get_item_feature()
    tokens = [list(map(str, prepared.dataset.field2id_token[name])) for name in ("user_id", "colour", "tags")]
    return [splits, [features[name].tolist() for name in ("item_id", *FEATURES)], tokens]


Change = Callable[[list[bytes]], list[bytes] | bytes]


def field(line: int, column: int, value: bytes) -> Change:
    """Put `value` into column `column` of line `line`, both from 1."""

    def change(lines: list[bytes]) -> list[bytes]:
        fields = lines[line - 1].split(b"\t")
        fields[column - 1] = value
        return [*lines[: line - 1], b"\t".join(fields), *lines[line:]]

    return change


def line(number: int, value: bytes) -> Change:
    return lambda lines: [*lines[: number - 1], value, *lines[number:]]


def more(*added: bytes) -> Change:
    return lambda lines: [*lines, *added]


def visits(user: str, count: int) -> list[bytes]:
    return [f"{user}\ti{place}\t{place}".encode() for place in range(count)]


def change_file(data: Path, suffix: str, change: Change) -> Path:
    path = data / NAME / f"{NAME}.{suffix}"
    changed = change(path.read_bytes().splitlines())
    path.write_bytes(changed if isinstance(changed, bytes) else b"\n".join(changed) + b"\n")
    return path


def open_quotes(lines: list[bytes]) -> list[bytes]:
    """RecBole takes all between the two for one field."""
    return [x.replace(b"\tc", b'\t"c') if place in (5, 8) else x for place, x in enumerate(lines)]


REFUSED: list[tuple[str, str, Change, str]] = [
    ("too few fields", "inter", line(6, b"u1\ti3"), ":6: 2 fields, but the first line has 3 columns"),
    ("one field", "inter", line(6, b"u1"), ":6: 1 field, but"),
    ("too many fields", "inter", line(6, b"u1\ti3\t4\t5"), ":6: 4 fields, but"),
    ("too many in all", "inter", lambda ls: [ls[0], *(x + b"\t9" for x in ls[1:])], ":2: 4 fields, but"),
    ("too few features", "item", line(6, b"i4\tc1"), ":6: 2 fields, but the first line has 5 columns"),
    ("too many features", "item", line(6, b"i4\tc1\tt1\t1\t1\t1"), ":6: 6 fields, but"),
    ("too few, quoted", "item", line(6, b'"i4"\tc1'), ":6: 2 fields, but"),
    ("no time", "inter", field(6, 3, b""), ":6: timestamp is '', not a number"),
    ("time nan", "inter", field(6, 3, b"nan"), ":6: timestamp is 'nan'"),
    ("time inf", "inter", field(6, 3, b"inf"), ":6: timestamp is 'inf'"),
    ("time text", "inter", field(6, 3, b"yesterday"), ":6: timestamp is 'yesterday'"),
    ("time quoted text", "inter", field(6, 3, b'"today"'), ":6: timestamp is 'today'"),
    (
        "time a date",
        "inter",
        field(6, 3, b"2020-01-31"),
        ":6: column 'timestamp' has type float, but the value",
    ),
    (
        "time huge",
        "inter",
        field(6, 3, b"1e300"),
        ": column 'timestamp' contains a number that is infinite",
    ),
    (
        "float text",
        "item",
        field(6, 4, b"cheap"),
        ":6: column 'price' has type float, but the value is 'cheap'",
    ),
    (
        "float infinite",
        "item",
        field(6, 4, b"-inf"),
        ": column 'price' contains a number that is infinite",
    ),
    (
        "floats text",
        "item",
        field(6, 5, b"0.1 b 0.2"),
        ":6: column 'sizes' has type float_seq, but the value is 'b'",
    ),
    ("a quote left open", "item", field(6, 2, b'"c1'), ":6: a quote opens a field: unexpected end of data"),
    ("text behind a quote", "item", field(6, 2, b'"Weird Al" Yankovic'), ":6: a quote opens a field"),
    (
        "two quotes left open",
        "item",
        open_quotes,
        ":6: a quote opens",
    ),
    ("a long field", "item", field(6, 2, b"c" * 200_000), ":6: a field is too long"),
    ("a NUL", "inter", field(6, 1, b"u\0"), ":6: a NUL byte; the file is not text"),
    ("Latin-1", "item", field(6, 2, b"caf\xe9"), ":6: not utf-8: byte 0xe9 cannot be read"),
    (
        "UTF-16",
        "inter",
        lambda ls: b"\n".join(ls).decode().encode("utf-16"),
        ":1: the first line is not utf-8",
    ),
    (
        "a byte order mark",
        "inter",
        lambda ls: [b"\xef\xbb\xbf" + ls[0], *ls[1:]],
        ":1: begins with a byte order",
    ),
    ("noise", "inter", lambda _: os.urandom(5000) + b"\xff", ":1: the first line"),
    ("noise below", "inter", lambda ls: [ls[0], b"\xff\xfe" * 900], ":2: not utf-8: byte 0xff"),
    ("nothing", "inter", lambda _: b"", ": the file is empty"),
    ("no features", "item", lambda _: b"", ": the file is empty"),
    ("a header alone", "inter", lambda ls: ls[:1], ": the file has no rows after the first line"),
    ("a header without end", "inter", lambda ls: ls[0], ": the file has no rows after the first line"),
    ("features without rows", "item", lambda ls: ls[:1], ": the file has no rows after the first line"),
    (
        "a float for users",
        "inter",
        lambda ls: [ls[0].replace(b":token", b":float", 1), *ls[1:]],
        ":1: column 'user_id'",
    ),
    (
        "users with two visits",
        "inter",
        lambda ls: [ls[0], *visits("a", 2), *visits("b", 2)],
        "the validation split is",
    ),
    (
        "users with one visit",
        "inter",
        lambda ls: [ls[0], *visits("a", 1), *visits("b", 1)],
        "the training split is",
    ),
]


@pytest.mark.parametrize("engine", [RECBOLE_ENGINE, FAST], ids=["recbole", "fast"])
@pytest.mark.parametrize(("suffix", "change", "said"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_refused(data: Path, suffix: str, change: Change, said: str, engine: Engine) -> None:
    path = change_file(data, suffix, change)
    with pytest.raises(DataError) as caught:
        load(data, engine)
    assert said in str(caught.value), str(caught.value)
    assert str(path if said.startswith(":") else data) in str(caught.value)
    assert caught.value.exit_code == 2


TAKEN: list[tuple[str, str, Change, str]] = [
    ("Windows line ends", "inter", lambda ls: b"".join(x + b"\r\n" for x in ls), ""),
    ("old line ends", "item", lambda ls: b"".join(x + b"\r" for x in ls), ""),
    ("no last line end", "inter", lambda ls: b"\n".join(ls), ""),
    ("blank lines", "item", lambda ls: [*ls[:4], b"", b"", *ls[4:], b"", b"  "], ""),
    ("an interaction twice", "inter", lambda ls: [*ls, ls[5], ls[5]], ""),
    ("an item that never occurs", "item", more(b"i999\tc1\tt1\t0.1\t0.2"), ""),
    ("an item without features", "inter", more(b"u1\tunknown\t3"), ""),
    ("users with one and two visits", "inter", more(*visits("one", 1), *visits("two", 2)), ""),
    ("a negative time", "inter", field(6, 3, b"-5"), ""),
    ("a time in nanoseconds", "inter", field(6, 3, b"1700000000000000000"), ""),
    ("no price", "item", field(6, 4, b""), ""),
    ("no colour", "item", field(6, 2, b""), ""),
    ("no tags", "item", field(6, 3, b""), ""),
    ("many tags", "item", field(6, 3, b" ".join(b"t%d" % n for n in range(3000))), ""),
    ("a quote within", "item", field(6, 2, b'c"x'), ""),
    ("a quoted field", "item", field(6, 2, b'"c x"'), ""),
    ("a quote doubled", "item", field(6, 2, b'"a ""b"" c"'), ""),
    ("a quoted separator", "item", field(6, 2, b'"c\tx"'), ""),
    ("spaces about an id", "inter", field(6, 1, b" u1 "), ""),
    ("other alphabets", "item", field(6, 2, "ü漢😀".encode()), ""),
    (
        "no user",
        "inter",
        field(6, 1, b""),
        ".inter: dropped, no user_id or item_id: 1 row, the first in line 6",
    ),
    ("no item, quoted", "inter", field(6, 2, b'""'), "1 row, the first in line 6"),
    (
        "users called NA",
        "inter",
        lambda ls: [x.replace(b"u3\t", b"NA\t") for x in ls],
        "rows, the first in line",
    ),
    (
        "an item called null",
        "item",
        field(6, 1, b"null"),
        ".item: dropped, no item_id: 1 row, the first in line 6",
    ),
]


@pytest.mark.parametrize(("suffix", "change", "note"), [t[1:] for t in TAKEN], ids=[t[0] for t in TAKEN])
def test_taken_as_recbole_takes_it(data: Path, suffix: str, change: Change, note: str) -> None:
    change_file(data, suffix, change)
    (stock, notes), (fast, _) = load(data, RECBOLE_ENGINE), load(data, FAST)
    assert content(fast) == content(stock)
    assert note in " ".join(notes) and bool(note) == bool(notes)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8-sig", "utf-16"])
def test_another_encoding(data: Path, encoding: str) -> None:
    change_file(data, "item", field(6, 2, "é".encode()))
    (plain, _) = load(data, RECBOLE_ENGINE)
    for suffix in ("inter", "item"):
        path = data / NAME / f"{NAME}.{suffix}"
        path.write_bytes(path.read_bytes().decode().encode(encoding))
    for engine in (RECBOLE_ENGINE, FAST):
        assert content(load(data, engine, encoding=encoding)[0]) == content(plain)


def test_blocks_and_lines_that_cross_them(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_file(data, "inter", field(200, 1, b""))
    change_file(data, "item", more(b"i4\tc9\tt1\t0.5\t0.1"))
    for size in (1, 10, 1000):
        monkeypatch.setattr(dataset_rows, "_BLOCK", size)
        inter, item = load(data, FAST)[1]
        assert "1 row, the first in line 200;" in inter and "1 row, the first in line 39" in item
    change_file(data, "inter", field(150, 3, b""))
    with pytest.raises(DataError, match=r"\.inter:150: timestamp"):
        load(data, FAST)


def test_a_line_that_does_not_end_is_not_read_to_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_rows, "_BLOCK", 10)
    monkeypatch.setattr(dataset_rows, "_LONGEST_LINE", 100)
    (tmp_path / "x.inter").write_text("a" * 1000)
    with pytest.raises(DataError, match="a line is longer than"):
        list(dataset_rows.line_blocks(tmp_path / "x.inter"))
    (tmp_path / "x.inter").write_text("a" * 90 + "\n" + "b" * 99 + "\n")
    assert b"".join(dataset_rows.line_blocks(tmp_path / "x.inter")).count(b"\n") == 2
