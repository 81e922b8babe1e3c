"""Opening a study's SQLite database: interrupted creation, damage, and other programs' files."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path

import optuna
import pytest
from sqlalchemy import Engine, event

from sasrecf_tune.errors import InputError, StorageError
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.search.open_study import load_study, open_study
from sasrecf_tune.search.strategies.distributions import distributions
from sasrecf_tune.storage.database.errors import check_database
from sasrecf_tune.storage.database.foreign import open_to_read
from sasrecf_tune.storage.database.open import open_storage
from sasrecf_tune.storage.directory import StudyDirectory

SPACE = parse("n_layers choice [1, 2]\n")
IDENTITY = {"metric": "MRR@10", "space": {"n_layers": "n_layers choice [1, 2]"}, "data": "abc"}


def schema(study_dir: StudyDirectory) -> list[tuple[str, ...]]:
    with contextlib.closing(sqlite3.connect(study_dir.database)) as connection:
        return sorted(
            connection.execute(
                "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL UNION ALL "
                "SELECT 'version', schema_version, '' FROM version_info UNION ALL "
                "SELECT 'revision', version_num, '' FROM alembic_version"
            )
        )


def test_an_interrupted_database_creation_is_completed(study_dir: StudyDirectory) -> None:
    writes = killed_at = 0
    schemas = []

    def kill(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        nonlocal writes
        writes += not statement.lstrip().startswith(("SELECT", "PRAGMA"))
        if writes == killed_at:
            raise KeyboardInterrupt

    def in_a_hurry(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", in_a_hurry)
    event.listen(Engine, "before_cursor_execute", kill)
    try:
        while writes >= killed_at:
            writes, killed_at = 0, killed_at + 1
            study_dir.database.unlink(missing_ok=True)
            with contextlib.suppress(KeyboardInterrupt):
                open_storage(study_dir, None).engine.dispose()
            if writes == killed_at:
                writes += 1  # which spares the second attempt
                open_storage(study_dir, None).engine.dispose()
            schemas.append(schema(study_dir))
    finally:
        event.remove(Engine, "connect", in_a_hurry)
        event.remove(Engine, "before_cursor_execute", kill)
    assert len(schemas) > 15
    assert all(made == schemas[-1] for made in schemas)


def test_an_interrupted_commit_is_rolled_back(study_dir: StudyDirectory, tmp_path: Path) -> None:
    storage = open_storage(study_dir, None)
    open_study(study_dir, storage, SPACE, IDENTITY, True).optuna.add_trial(
        optuna.trial.create_trial(
            value=1.0, params=SPACE.encode({"n_layers": 1}), distributions=distributions(SPACE)
        )
    )
    storage.engine.dispose()
    killed = StudyDirectory(tmp_path / "killed" / "study")
    with contextlib.closing(sqlite3.connect(study_dir.database)) as connection:
        # With so small a cache SQLite changes the database before the commit: a copy made meanwhile is
        # what the disk holds when the process is killed there.
        connection.execute("PRAGMA cache_size = 1")
        connection.executemany(
            "INSERT INTO study_user_attributes (study_id, key, value_json) VALUES (1, ?, ?)",
            [(str(number), "x" * 999) for number in range(99)],
        )
        connection.execute("UPDATE trials SET state = 'RUNNING'")
        shutil.copytree(study_dir.directory, killed.directory)
    assert Path(f"{killed.database}-journal").stat().st_size > 0
    (record,) = load_study(killed, open_storage(killed, None), SPACE).records()
    assert (record.state, record.score) == ("complete", 1.0)


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0 cut off here", b"\0" * 5000])
def test_a_corrupt_database_is_an_error_and_unchanged(study_dir: StudyDirectory, content: bytes) -> None:
    study_dir.database.write_bytes(content)
    with pytest.raises(StorageError, match=r"study\.db"):
        open_storage(study_dir, None)
    assert study_dir.database.read_bytes() == content


def test_a_database_of_another_program_is_an_error_and_unchanged(study_dir: StudyDirectory) -> None:
    with sqlite3.connect(study_dir.database) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    before = study_dir.database.read_bytes()
    with pytest.raises(StorageError, match="not one of Optuna"):
        open_storage(study_dir, None)
    assert study_dir.database.read_bytes() == before


def test_a_missing_database_file_names_the_recorded_server(study_dir: StudyDirectory) -> None:
    study_dir.directory.mkdir(exist_ok=True)
    study_dir.manifest.write_text(json.dumps({"storage": "postgresql://tuner:***@dbhost/tuning"}))
    with pytest.raises(StorageError, match=r"in another database: postgresql://tuner:\*\*\*@dbhost"):
        check_database(study_dir, None)


def test_an_empty_database_of_an_earlier_study_is_named(tmp_path: Path) -> None:
    (tmp_path / "study.db").touch()
    with pytest.raises(InputError, match="the database is empty"), open_to_read(str(tmp_path / "study.db")):
        pass
