"""Passwords in database addresses are neither shown nor stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from sasrecf_tune.errors import InputError, StorageError
from sasrecf_tune.storage.database import errors
from sasrecf_tune.storage.database.open import open_storage
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.manifest import write_manifest
from sasrecf_tune.storage.url_masking import mask_passwords


def test_an_error_does_not_show_the_password(study_dir: StudyDirectory) -> None:
    with pytest.raises(StorageError) as caught:
        open_storage(study_dir, "postgresql://me:secret@localhost:1/none")
    assert "secret" not in str(caught.value)


def test_the_manifest_does_not_store_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study_dir = StudyDirectory(tmp_path / "study")
    study_dir.directory.mkdir()
    monkeypatch.setattr("sys.argv", ["sasrecf-tune", "run", "--storage=postgresql://me:s3/cr:et@host/db"])
    write_manifest(study_dir, {})
    text = study_dir.manifest.read_text()
    assert "s3/cr" not in text and "--storage=postgresql://me:***@host/db" in text
    with pytest.raises(InputError, match="not stored"):
        open_storage(study_dir, "postgresql://me:***@host/db")


def test_a_password_in_the_query_is_masked(
    study_dir: StudyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = (
        "postgresql://me@host/db?passfile=/home/me/.pgpass&PassWord=s3cret&sslmode=require&sslpassword=t0p"
    )
    safe = "postgresql://me@host/db?passfile=/home/me/.pgpass&PassWord=***&sslmode=require&sslpassword=***"
    assert mask_passwords(address) == safe
    assert mask_passwords(f"{address} {address}") == f"{safe} {safe}"
    shown = errors.display_url(study_dir, address)
    assert "s3cret" not in shown and "t0p" not in shown and "PassWord=***" in shown
    monkeypatch.setattr("sys.argv", ["sasrecf-tune", "run", f"--storage={address}"])
    write_manifest(study_dir, {"study": "study"})
    assert f"--storage={safe}" in study_dir.manifest.read_text()
    with pytest.raises(InputError, match="is not stored with the study"):
        open_storage(study_dir, shown)
