"""Tables in every format and layout: what is understood of them, and what RecBole reads of the result."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import sasrecf_tune
from sasrecf_tune.errors import InputError
from sasrecf_tune.importing.feature_kinds import read_feature
from sasrecf_tune.importing.ids import field_text
from sasrecf_tune.importing.importer import TablesRead, read_tables
from sasrecf_tune.importing.sources import open_table
from sasrecf_tune.inputs.dataset_check import check_dataset
from sasrecf_tune.inputs.import_settings import ImportSettings
from tests.importing.raw_tables import ITEMS, config_of, genres, item_feature, loaded, rows
from tests.support.synthetic_data import muted

__all__ = ["muted"]

ROWS = rows()
CSV = "user_id,item_id,timestamp\n" + "".join(f"{u},{i},{t}\n" for u, i, _, t in ROWS)
USERS, ITEMS_SEEN = len({row[0] for row in ROWS}), len({row[1] for row in ROWS})


def understood(table: object, items: object = None, **options: object) -> TablesRead:
    return read_tables(table, items, ImportSettings(**({"out": Path("data/t")} | options)))  # type: ignore[arg-type]


def write(name: str, text: str, encoding: str = "utf-8") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def counts(read: TablesRead) -> tuple[int, int, int]:
    return (
        len(read.interactions.users),
        read.interactions.count_of_users(),
        read.interactions.count_of_items(),
    )


ALL = (len(ROWS), USERS, ITEMS_SEEN)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "ratings.csv",
            "userId,movieId,rating,timestamp\n" + "".join("{},{},{}.0,{}\n".format(*r) for r in ROWS),
        ),
        ("ratings.dat", "".join("{}::{}::{}::{}\n".format(*row) for row in ROWS)),
        ("u.data", "".join("{}\t{}\t{}\t{}\n".format(*row) for row in ROWS)),
        ("ratings_Beauty.csv", "".join("A{:>013},B{:>09},{}.0,{}\n".format(*row) for row in ROWS)),
        ("Fashion.csv", "".join("B{1:>09},A{0:>013},{2}.0,{3}\n".format(*row) for row in ROWS)),
        (
            "log.tsv",
            "Session ID\tItem ID\tCreated At\r\n" + "".join(f"{u}\t{i}\t{t}\r\n" for u, i, _, t in ROWS),
        ),
        ("semi.csv", "time;user;item\n" + "".join(f"{t};{u};{i}\n" for u, i, _, t in ROWS)),
        (
            "x.inter",
            "user_id:token\titem_id:token\ttimestamp:float\n"
            + "".join(f"{u}\t{i}\t{t}\n" for u, i, _, t in ROWS),
        ),
        (
            "reviews.json",
            "".join(
                json.dumps({"reviewerID": u, "asin": i, "overall": r, "helpful": [0, 1], "unixReviewTime": t})
                + "\n"
                for u, i, r, t in ROWS
            ),
        ),
        ("loose.json", "".join(repr({"asin": i, "user": int(u), "time": t}) + "\n" for u, i, _, t in ROWS)),
        ("blank.csv", CSV.replace("\n", "\n\n")),
    ],
)
def test_layouts(name: str, text: str) -> None:
    assert counts(understood(write(name, text))) == ALL


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_files(pack: Callable[[bytes], bytes]) -> None:
    packed = pack(CSV.encode())
    Path("t.csv.x").write_bytes(packed)
    assert counts(understood("t.csv.x")) == ALL
    Path("cut.csv.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(InputError, match="damaged or incomplete"):
        understood("cut.csv.gz")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_a_name(encoding: str) -> None:
    assert counts(understood(write("t.csv", CSV, encoding))) == ALL


def test_another_encoding_is_asked_for() -> None:
    path = write("t.csv", "user,item,time\nJosé,Ñ,1\n", "latin-1")
    with pytest.raises(InputError, match=r"t.csv: it is not utf-8(.|\n)*--encoding"):
        understood(path)
    read = understood(path, encoding="latin-1")
    assert read.interactions.user_ids.texts == ["José"] and read.interactions.item_ids.texts == ["Ñ"]
    with pytest.raises(InputError, match="no encoding 'latin-x'"):
        understood(path, encoding="latin-x")


def test_an_encoding_that_is_wrong_far_into_the_file() -> None:
    path = Path("t.csv")
    path.write_bytes(CSV.encode() * 1 + b"u,i,1\n" * 300_000 + b"Jos\xe9,i,1\n")
    with pytest.raises(InputError, match="it is not utf-8"):
        understood(path)


def test_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(ROWS, columns=["user", "item", "rating", "time"])
    frame["item"] = frame["item"].astype("int64")
    frame["tags"] = [["a", "b"]] * len(frame)
    frame.to_parquet("t.parquet")
    assert counts(understood("t.parquet")) == ALL
    Path("bad.parquet").write_bytes(b"PAR1" + b"x" * 100)
    with pytest.raises(InputError, match="damaged"):
        understood("bad.parquet")


def test_parquet_without_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    Path("t.parquet").write_bytes(b"PAR1")
    with pytest.raises(
        InputError, match=r"t.parquet: Parquet files need pyarrow, which is not(.|\n)*\[parquet\]"
    ):
        understood("t.parquet")


def test_data_frames() -> None:
    frame = pd.DataFrame(ROWS, columns=["user", "item", "rating", "time"])
    assert counts(understood(frame)) == ALL
    stamped = frame.assign(time=pd.to_datetime(frame["time"], unit="s"), item=frame["item"].astype(float))
    read = understood(stamped)
    assert counts(read) == ALL and read.interactions.item_ids.texts[0] == ROWS[0][1]
    gaps = frame.astype({"user": "Int64"})
    gaps.loc[0, "user"] = pd.NA
    with pytest.raises(InputError, match=r"1 row: user is empty(.|\n)*--drop missing"):
        understood(gaps).check()
    with pytest.raises(InputError, match="not dict"):
        understood({})


def test_a_polars_data_frame() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(ROWS, schema=["user", "item", "rating", "time"], orient="row")
    assert counts(understood(frame)) == ALL
    dates = frame.with_columns(time=polars.from_epoch("time"), user=polars.col("user").cast(polars.Int64))
    assert counts(understood(dates)) == ALL


TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('\t" ,|0'), min_size=1, max_size=8
)


@settings(max_examples=12, deadline=None)
@given(st.lists(TEXT, min_size=2, max_size=8, unique=True))
def test_recbole_reads_the_very_ids(ids: list[str]) -> None:
    from sasrecf_tune.importing.ids import MISSING_WORDS

    ids = [text for text in ids if text not in MISSING_WORDS] + ["007", "7", '"q"', "a\tb"]
    ids = list(dict.fromkeys(ids))
    frame = pd.DataFrame({"user": ids * 2, "item": ids[::-1] * 2, "time": range(2 * len(ids))})
    items = pd.DataFrame({"item": ids, "kind": [f"k{place % 2}" for place in range(len(ids))]})
    data = sasrecf_tune.import_data(frame, "data/ids", items=items, force=True)
    dataset = loaded(data.config_files)
    for name in ("user_id", "item_id"):
        assert set(map(str, dataset.field2id_token[name][1:])) == set(ids)
    assert dataset.inter_num == 2 * len(ids)


@given(TEXT)
def test_a_field_of_an_atomic_file_is_read_back(text: str) -> None:
    import csv

    assert next(csv.reader([f"{field_text(text)}\tx"], delimiter="\t", strict=True)) == [text, "x"]


LOST = "user,item,time\nu,a,1\n,a,2\nu,NA,3\nu,b,\nu,b,yesterday\nv,a,4\nv,b,5,6\nv,c,5\nv,c,5\n"


def test_rows_that_cannot_be_used_are_refused_unless_told() -> None:
    path = write("t.csv", LOST)
    with pytest.raises(InputError) as caught:
        understood(path).check()
    text = str(caught.value)
    assert "line 8 has 4 fields, but there are 3 columns" in text and "(row 5: 'yesterday')" in text
    assert "--drop unreadable --drop missing" in text and text.count("missing") >= 1
    with pytest.raises(InputError, match="rows would be lost"):
        understood(path, drop=["missing"]).check()
    read = understood(path, drop=["missing", "unreadable"])
    read.check()
    assert counts(read) == (4, 2, 2)
    assert read.interactions.repeated == 1
    read = understood(path, drop=["missing", "unreadable", "duplicates"])
    assert counts(read)[0] == 3 and sum(lost.count for lost in read.interactions.lost) == 6


def test_a_well_known_file_may_begin_with_a_letter_that_is_not_utf_8() -> None:
    genres = "|".join("0" * 19)
    rows = [f"{number}|Amélie (2001)|01-Jan-2001||http://x|{genres}\n" for number in range(1, 20)]
    table = open_table(write("u.item", "".join(rows), "latin-1"), ImportSettings())
    assert "Amélie (2001)" in {values[0] for values in table.sample().values()}


@pytest.mark.parametrize("role", ["user", "item"])
def test_a_named_column_is_not_taken_for_ratings_by_its_name(role: str) -> None:
    other = "item" if role == "user" else "user"
    path = write("t.csv", f"score,{other},time\nu,a,1\nu,b,2\n")
    understood(path, **{role: "score"}).check()
    with pytest.raises(InputError, match="needs a column of ratings"):
        understood(path, min_rating=3, **{role: "score"})


def test_ratings() -> None:
    path = write("t.csv", "user,item,rating,time\nu,a,3,1\nu,b,4.5,2\nu,c,5,3\n")
    read = understood(path, min_rating=4)
    read.check()
    assert counts(read)[0] == 2 and read.interactions.unused == []
    data = sasrecf_tune.import_data(path, "data/rated", rating="rating")
    text = Path("data/rated/rated.inter").read_text()
    assert text.splitlines()[:3] == [
        "user_id:token\titem_id:token\ttimestamp:float\trating:float",
        "u\ta\t1\t3",
        "u\tb\t2\t4.5",
    ]
    assert "rating" not in yaml.safe_load(data.config_files.read_text())["load_col"]["inter"]
    with pytest.raises(InputError, match="none of its 3 rows is left"):
        understood(path, min_rating=6)


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("", {}, "the file is empty"),
        ("user,item,time\n", {}, "the table has no rows"),
        ("abc\ndef\n", {}, "no separator of columns found"),
        ("who,item,time\nu,a,1\n", {}, r"no column of users was recognized(.|\n)*who \(u\), item \(a\)"),
        ("user,item,time\nu,a,1\n", {"user": "usr"}, "--user: there is no column 'usr': did you mean `user`"),
        ("user,item,time\nu,a,1\n", {"user": "item"}, "cannot be the user and the item"),
        ("user,item,time\nu,a,1\n", {"min_rating": 3}, "needs a column of ratings"),
        ("user,item,item,time\nu,a,b,1\n", {}, "column 'item' occurs twice"),
        (
            'user,item,time\nu,"a,1\nu,b,2\n',
            {},
            r"a quote opens a field, and none closes it(.|\n)*--no-quotes",
        ),
        (
            "user,item,time\nu,a,2018-02-30\n",
            {"time_format": "%Q"},
            "invalid `--time-format`|no date of the format",
        ),
        ('{"user": 1}\n[]\n', {}, "row 2: this is no JSON object"),
        ('[{"user": 1}]\n', {}, "row 1: this is no JSON object"),
        ("PK\x03\x04xx", {}, "a zip archive or a spreadsheet"),
        ("1,2\n3,4\n", {}, "no column of users was recognized"),
        ("user,item,time\nu,a,1\n", {"features": ["x"]}, "invalid `--feature` value 'x'"),
        ("user,item,time\nu,a,1\n", {"features": ["x:token"]}, "needs a table of items"),
    ],
)
def test_mistakes_are_explained(text: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        understood(write("t.csv", text), **options)


def test_files_without_a_header_take_numbers_for_columns() -> None:
    path = write("t.csv", "u,5,a\nu,6,b\n")
    read = understood(path, user="1", item="3", time="2")
    assert counts(read) == (2, 1, 2) and not read.sources[0][1].startswith("columns separated by ',', header")


def test_quotes_that_are_text() -> None:
    path = write("t.tsv", 'user\titem\ttime\nu\t"7 inch\t1\nu\tb"\t2\n')
    assert understood(path, quotes=False).interactions.item_ids.texts == ['"7 inch', 'b"']


@pytest.mark.parametrize(
    ("values", "kind", "separator"),
    [
        (["Action|Drama", "Drama", "Action", "Comedy|Drama", "Comedy|Action"], "token_seq", "|"),
        (["a, b", "b, c", "a, c", "c, a"], "token_seq", ","),
        ([["a", "b"], ["b"], None], "token_seq", "[]"),
        ([[["x"], ["y", "z"]], [["x"]]], "token_seq", "[]"),
        (["['a', 'b c']", "[]", "['a']"], "token_seq", "[]"),
        (["1.5", "2", "", "7.25"], "float", ""),
        (["1990", "1990", "1991", "1991", "1990"], "token", ""),
        (["red", "blue", "red", "None"], "token", ""),
        (["x", "x", ""], "skip", ""),
        (["", None, "NA"], "skip", ""),
        ([f"Film, The {number}" for number in range(50)], "skip", ""),
        (["os.system('x')", "os.system('x')", "__import__('os')"], "token", ""),
    ],
)
def test_kinds_of_features(values: list[object], kind: str, separator: str) -> None:
    feature = read_feature("c", "c", values, None)
    assert (feature.kind, feature.separator) == (kind, separator)


def item_table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "item": [str(item) for item in range(1, ITEMS + 3)],
            "genres": ["|".join(genres(item)) for item in range(1, ITEMS + 3)],
            "maker": [("A B", "C", "")[item % 3] for item in range(1, ITEMS + 3)],
            "price": [item / 2 for item in range(1, ITEMS + 3)],
            "user_id": ["x y", "z"] * ((ITEMS + 2) // 2),
        }
    )


def test_recbole_reads_the_features_and_the_settings_pass_the_check() -> None:
    frame = pd.DataFrame(ROWS, columns=["user", "item", "rating", "time"])
    items = item_table().iloc[1:]  # item 1 has interactions and no row
    data = sasrecf_tune.import_data(frame, "data/shop", items=items)
    assert data.selected_features == ("genres", "maker", "user_id_")
    assert data.summary["items_without_row"] == 1 and data.summary["unseen_items"] == 2
    assert item_feature(data.config_files, "genres")["3"] == genres(3)
    assert item_feature(data.config_files, "maker")["3"] == ["A B"]
    assert item_feature(data.config_files, "maker")["5"] == []
    assert item_feature(data.config_files, "genres")["1"] == []
    dataset = loaded(data.config_files)
    assert (dataset.user_num - 1, dataset.item_num - 1, dataset.inter_num) == (USERS, ITEMS + 2, len(ROWS))
    config = config_of(data.config_files)
    checked = check_dataset(config, [data.selected_features], 50, own_path=True)
    assert not [note for note in checked.notes if "float32" in note or "dropped" in note]


def test_kinds_that_are_told_and_rows_of_items() -> None:
    frame = pd.DataFrame(ROWS, columns=["user", "item", "rating", "time"])
    items = pd.concat([item_table(), item_table().iloc[:1], item_table().iloc[:1].assign(maker="D")])
    with pytest.raises(
        InputError, match=r"1 row: item has an earlier row with other values(.|\n)*--drop duplicates"
    ):
        understood(frame, items).check()
    read = understood(
        frame, items, drop=["duplicates", "unseen-items"], features=["genres:token", "price:skip"]
    )
    read.check()
    assert read.items is not None and len(read.items.ids) == ITEMS_SEEN
    assert [each.kind for each in read.items.features][:3] == ["token", "token", "skip"]
    with pytest.raises(InputError, match="to be float, but row 1 has"):
        understood(frame, item_table(), features=["genres:float"])
    with pytest.raises(InputError, match="no column 'genre': did you mean `genres`"):
        understood(frame, item_table(), features=["genre:token"])
    with pytest.raises(InputError, match=r"no item is an item of the interactions(.|\n)*--item-key"):
        understood(frame, item_table().assign(item=lambda table: "i" + table["item"]))


def test_the_key_of_items_is_the_column_with_their_ids() -> None:
    frame = pd.DataFrame(ROWS, columns=["user", "item", "rating", "time"])
    items = item_table().rename(columns={"item": "code"})
    read = understood(frame, items)
    assert read.items is not None and read.items.key == "code"
