from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from pathlib import Path

import pytest

from sasrecf_tune.errors import InputError, StorageError, StudyNotFoundError
from sasrecf_tune.storage.database.errors import storage_error
from sasrecf_tune.storage.directory import StudyDirectory, check_new_name, default_name, find_study
from sasrecf_tune.storage.files import (
    append_line,
    atomic_write,
    disk_error,
    disk_fix,
    remove,
    temporary_files,
)


def test_atomic_write_leaves_the_old_file_when_the_disk_refuses(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    atomic_write(target, "old\n")
    assert target.read_text() == "old\n"
    (tmp_path / "blocked").write_text("a file where a directory would be")
    with pytest.raises(StorageError, match="cannot write"):
        atomic_write(tmp_path / "blocked" / "table.csv", "new\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blocked", "table.csv"]


def test_written_files_are_as_readable_as_any_other(tmp_path: Path) -> None:
    atomic_write(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_what_a_killed_writer_left_is_dropped_and_nothing_else(tmp_path: Path) -> None:
    for name in ("ranking.csv", "best.yaml", "hyper.result", "report.html"):
        handle, _ = tempfile.mkstemp(dir=tmp_path, prefix=f".{name}.")
        os.close(handle)
    kept = ["study.db", "study.db-journal", "ranking.csv", ".gitignore", ".notes.md", ".mine.settings"]
    for name in kept:
        (tmp_path / name).touch()
    remove(temporary_files(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    assert temporary_files(tmp_path / "nowhere") == []


def test_append_to_a_directory_is_an_error_for_people(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=str(tmp_path)):
        append_line(tmp_path, "x")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a\nb", "-x", "x" * 101, "a b", "é"])
def test_names_that_would_leave_the_directory_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        check_new_name(name)


def test_default_name_is_always_a_name() -> None:
    assert default_name("ml-100k", Path("spaces/hyper.test")) == "ml-100k-hyper"
    assert default_name("ml-100k", Path("hyper.test"), "SASRec") == "ml-100k-SASRec-hyper"
    for odd in ("a b.test", "../../é\n.test", "....test"):
        check_new_name(default_name("ml-100k", Path(odd)))


def test_a_missing_study_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(StudyNotFoundError, match="no studies here"):
        find_study(tmp_path, None)
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "manifest.json").write_text("{}")
    with pytest.raises(StudyNotFoundError, match="Studies there: one"):
        find_study(tmp_path, "two")
    assert find_study(tmp_path, None).name == "one"


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.EROFS])
def test_a_file_that_may_not_be_changed_is_not_taken_for_a_full_disk(tmp_path: Path, number: int) -> None:
    error = disk_error(tmp_path / "study.lock", OSError(number, os.strerror(number)))
    assert "chattr -i" in error.fix and "ree space" not in error.fix
    assert disk_fix(error.what) == error.fix
    assert disk_fix(f"cannot write: {os.strerror(errno.ENOSPC)}").startswith("Free space")


def test_a_database_that_may_not_be_changed_is_not_taken_for_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_dir = StudyDirectory(tmp_path)
    study_dir.database.touch()
    reasons = "disk I/O error", "attempt to write a readonly database"
    assert storage_error(sqlite3.OperationalError(reasons[0]), study_dir, None).fix.startswith("Free space")
    monkeypatch.setattr("os.access", lambda *_: False)  # an immutable file, which root is refused too
    for reason in reasons:
        assert "chattr -i" in storage_error(sqlite3.OperationalError(reason), study_dir, None).fix
