"""The files with the metrics of each user, as they are written, and as somebody else may have made them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sasrecf_tune.errors import StorageError
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.per_user_files import (
    MOST_BYTES,
    copy_per_user,
    per_user_file,
    read_per_user,
    write_per_user,
)

HEAD = "user,item,history,popularity,rank,mrr@10\n"
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)


@given(st.lists(st.tuples(texts, texts, st.integers(0, 2**62), st.floats(0, 1)), min_size=1, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
def test_what_is_written_is_read(tmp_path: Path, rows: list[tuple[str, str, int, float]]) -> None:
    users, items, counts, scores = zip(*rows, strict=True)
    path = tmp_path / "trial-0001.test.csv"
    numbers = {"history": counts, "popularity": counts, "rank": np.array(counts) + 1}
    write_per_user(path, {"user": users, "item": items} | numbers | {"mrr@10": scores})
    for keys in (["mrr@10"], None):
        table = read_per_user(path, keys)
        assert [tuple(map(str, table[name])) for name in ("user", "item")] == [users, items]
        assert table["mrr@10"].tolist() == list(scores) and table["rank"].tolist() == [n + 1 for n in counts]


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEAD,
        "user,item\nu,i\n",
        HEAD + "u,i,1,1,1\nu,i,1,1,1,0.5,7,8\n",
        HEAD + "u,i,1,1,0,0.5\n",
        HEAD + "u,i,-1,1,1,0.5\n",
        HEAD + "u,i,1,1,1,1.5\n",
        HEAD + "u,i,1,1,1,nan\n",
        HEAD + "u,i,1,1,1,=cmd\n",
        HEAD + "u,i,1,1,99999999999999999999999,0.5\n",
        HEAD + '"u,i,1,1,1,0.5\n',
        HEAD + "u,i,1,1,1,\n",
        HEAD.replace("mrr@10", "rank") + "u,i,1,1,1,1\n",
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trial-0001.test.csv"
    path.write_text(text)
    for keys in (["mrr@10"], None):
        with pytest.raises(StorageError, match=r"test\.csv: cannot be read: .*"):
            read_per_user(path, keys)


@given(st.binary(max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "trial-0001.test.csv"
    for head in (b"", HEAD.encode()):
        path.write_bytes(head + content)
        try:
            read_per_user(path)
        except StorageError:
            continue


def test_links_devices_and_huge_files_are_refused(tmp_path: Path) -> None:
    names = ("real", "link", "pipe", "huge", "folder")
    real, link, pipe, huge, folder = (tmp_path / f"{name}.test.csv" for name in names)
    real.write_text(HEAD + "u,i,1,1,1,0.5\n")
    link.symlink_to(real)
    os.mkfifo(pipe)
    folder.mkdir()
    with huge.open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    assert len(read_per_user(real)) == 1
    for path, why in ((link, "link"), (pipe, "regular"), (huge, "512 MiB"), (folder, "regular")):
        with pytest.raises(StorageError, match=why):
            read_per_user(path)
    (tmp_path / "study").mkdir()
    (tmp_path / "study/per-user").symlink_to(tmp_path)
    with pytest.raises(StorageError, match="directory is a link"):
        read_per_user(tmp_path / "study/per-user" / real.name)
    with pytest.raises(FileNotFoundError):
        read_per_user(tmp_path / "none.test.csv")


def test_files_are_copied_and_belong_to_the_study(tmp_path: Path) -> None:
    study = StudyDirectory(tmp_path / "study")
    study.directory.mkdir()
    source = tmp_path / "confirm-0002"
    per_user_file(source, "test").write_text(HEAD)
    target = study.confirmation.per_user(2)
    assert copy_per_user(source, target) == [per_user_file(target, "test")]
    assert per_user_file(target, "test").read_text() == HEAD
    assert per_user_file(target, "test") in study.results()
    half = target.with_name(f".{target.name}.test.csv.abcdefgh")
    half.touch()
    assert half in study.leftovers()
