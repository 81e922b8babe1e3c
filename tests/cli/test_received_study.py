"""A study directory that somebody else has made to do harm to those who read it."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sasrecf_tune.cli.app import app
from sasrecf_tune.errors import StorageError
from sasrecf_tune.report.text import csv_line, markdown_table
from sasrecf_tune.storage.directory import StudyDirectory
from tests.support.hostile_files import SCHEMAS, journal_that_names
from tests.support.known_studies import NAME, plant

CONTENT = "somebody's own file\n"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant(tmp_path_factory.mktemp("template"), 8).directory


@pytest.fixture
def received(template: Path, tmp_path: Path) -> StudyDirectory:
    shutil.copytree(template, tmp_path / "out" / NAME)
    return StudyDirectory(tmp_path / "out" / NAME)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine"
    path.write_text(CONTENT)
    return path


def run(study_dir: StudyDirectory, *words: str) -> Result:
    result = CliRunner().invoke(app, [*words, "--out", str(study_dir.directory.parent)])
    if isinstance(result.exception, StorageError):
        raise result.exception
    assert result.exit_code == 0, result.exception
    return result


def test_the_journal_of_a_database_deletes_no_other_file(received: StudyDirectory, mine: Path) -> None:
    journal = received.database.with_name("study.db-journal")
    journal.write_bytes(journal_that_names(mine, received.database))
    with pytest.raises(StorageError, match="names another file") as caught:
        run(received, "report", NAME)
    assert str(journal) in str(caught.value)
    assert mine.read_text() == CONTENT


def test_the_journal_of_a_killed_run_is_still_rolled_back(received: StudyDirectory, mine: Path) -> None:
    whole = journal_that_names(mine, received.database)
    journal = received.database.with_name("study.db-journal")
    journal.write_bytes(whole[: 512 + 4 + 4096 + 4])
    run(received, "report", NAME)
    assert not journal.exists()


@pytest.mark.parametrize("content", ["", CONTENT, None])
def test_a_database_that_is_a_link_is_not_followed(
    received: StudyDirectory, mine: Path, content: str | None
) -> None:
    if content is None:
        shutil.copy(received.database, mine)
    else:
        mine.write_text(content)
    before = mine.read_bytes()
    received.database.unlink()
    received.database.symlink_to(mine)
    for words in (["report"], ["best"], ["report", "--format", "html"]):
        with pytest.raises(StorageError, match="leads elsewhere, and SQLite may change") as caught:
            run(received, words[0], NAME, *words[1:])
        assert str(received.database) in str(caught.value)
    assert NAME in run(received, "studies").output
    assert mine.read_bytes() == before and not mine.with_name("mine-journal").exists()


@pytest.mark.parametrize("end", ["-journal", "-wal", "-shm"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: Path(path).symlink_to("../../mine")])
def test_sqlite_uses_no_link_and_no_pipe(
    received: StudyDirectory, mine: Path, end: str, make: Callable[[Path], None]
) -> None:
    make(received.database.with_name(f"study.db{end}"))
    with pytest.raises(StorageError, match="not a regular file"):
        run(received, "report", NAME)
    assert mine.read_text() == CONTENT


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_schema_that_computes_something_is_refused(received: StudyDirectory, kind: str) -> None:
    with contextlib.closing(sqlite3.connect(received.database)) as connection:
        connection.executescript(SCHEMAS[kind])
    with pytest.raises(StorageError, match="content that Optuna does not create"):
        run(received, "report", NAME)


def test_a_view_that_nothing_reads_does_no_harm(received: StudyDirectory) -> None:
    with contextlib.closing(sqlite3.connect(received.database)) as connection:
        connection.execute("CREATE VIEW ended AS SELECT * FROM trials WHERE state = 'COMPLETE'")
    run(received, "report", NAME)


def test_a_huge_value_is_not_read(received: StudyDirectory) -> None:
    with contextlib.closing(sqlite3.connect(received.database)) as connection, connection:
        text = '"' + "x" * (1 << 24) + '"'
        connection.execute("UPDATE trial_user_attributes SET value_json = ? WHERE key = 'error'", (text,))
    with pytest.raises(StorageError, match="too big") as caught:
        run(received, "report", NAME)
    assert "Restore it" in caught.value.fix


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: Path(path).symlink_to("../../mine")])
def test_the_page_replaces_a_link_or_a_pipe_of_its_name(
    received: StudyDirectory, mine: Path, make: Callable[[Path], None]
) -> None:
    make(received.report)
    run(received, "report", NAME, "--format", "html")
    assert mine.read_text() == CONTENT
    assert received.report.read_text().startswith("<!doctype html>") and not received.report.is_symlink()


def test_a_pipe_in_place_of_the_table_of_trials_is_not_waited_for(received: StudyDirectory) -> None:
    os.mkfifo(received.trials)
    assert "? of 8" in run(received, "studies").output


@pytest.mark.parametrize("name", ["manifest.json", "trials.csv"])
def test_a_huge_file_is_not_read(received: StudyDirectory, name: str) -> None:
    with (received.directory / name).open("ab") as file:
        file.truncate(1 << 40)  # takes no space
    assert NAME in run(received, "studies").output
    if name == "manifest.json":
        with pytest.raises(StorageError, match="larger than 64 MiB"):
            run(received, "report", NAME)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("workers", 10**6),
        ("threads", 10**6),
        ("fuse", 10**6),
        ("trials_per_gpu", 0),
        ("search.retries", 10**6),
    ],
)
def test_a_run_takes_no_number_from_a_manifest_that_its_option_refuses(
    received: StudyDirectory, key: str, value: int
) -> None:
    content = json.loads(received.manifest.read_text())
    group, _, name = key.rpartition(".")
    (content[group] if group else content)[name] = value
    received.manifest.write_text(json.dumps(content))
    with pytest.raises(StorageError, match=f"`{key}` is out of range"):
        run(received, "resume", NAME)


FORMULA, ELEMENT = "=HYPERLINK(1)", "<img src=x>![x](//y)"


def test_a_table_has_no_formulas(received: StudyDirectory) -> None:
    with contextlib.closing(sqlite3.connect(received.database)) as connection, connection:
        change = "UPDATE trial_user_attributes SET value_json = ? WHERE key = 'error'"
        connection.execute(change, (json.dumps(FORMULA),))
    table = io.StringIO(run(received, "report", NAME, "--format", "csv").output)
    assert {row["error"] for row in csv.DictReader(table)} <= {f"'{FORMULA}", ""}


@pytest.mark.parametrize("number", ["-0.5", "+1e-3", "-inf", "-1"])
def test_numbers_are_no_formulas(number: str) -> None:
    assert csv_line([number, float(number)]) == f"{number},{float(number)}\n"


def test_a_cell_of_markdown_is_text() -> None:
    assert markdown_table([ELEMENT], [["[a, b]"]]).splitlines()[::2] == [
        "| &lt;img src=x>![x]\\(//y) |",
        "| [a, b] |",
    ]


def test_links_that_a_user_makes_on_purpose_work(received: StudyDirectory, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").symlink_to(received.directory.parent)
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / NAME).symlink_to(received.directory)
    page = tmp_path / "page.html"
    page.symlink_to(tmp_path / "target.html")
    for out in (tmp_path / "elsewhere", tmp_path / "studies"):
        reached = StudyDirectory(out / NAME)
        assert "MRR@10" in run(reached, "report", NAME).output
        run(reached, "report", NAME, "--format", "html", "-o", str(page))
    assert page.is_symlink() and (tmp_path / "target.html").is_file()
