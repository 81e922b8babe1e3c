"""The study on disk: damage, strangers, and who may hold it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import optuna
import pytest
from sqlalchemy import Engine, event
from sqlalchemy.engine import make_url

from sasrecf_tune import environment as machine
from sasrecf_tune.analysis.reproduction import diff_text
from sasrecf_tune.cli.session import open_session
from sasrecf_tune.environment import install_command
from sasrecf_tune.errors import (
    InputError,
    StorageError,
    StudyMismatchError,
    StudyNotFoundError,
    TuneError,
    WorkerError,
)
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.search.open_study import load_study, open_study
from sasrecf_tune.storage import lock
from sasrecf_tune.storage.database import errors as damage
from sasrecf_tune.storage.database.errors import check_database
from sasrecf_tune.storage.database.open import open_storage
from sasrecf_tune.storage.database.server import with_driver
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.lock import abandoned, exclusive, shared
from sasrecf_tune.storage.manifest import write_manifest
from sasrecf_tune.storage.url_masking import mask_passwords

SPACE = parse("n_layers choice [1, 2]\n")
Cli = Callable[..., subprocess.CompletedProcess[str]]
IDENTITY = {"metric": "MRR@10", "space": {"n_layers": "n_layers choice [1, 2]"}, "data": "abc"}


@pytest.fixture
def study_dir(tmp_path: Path) -> StudyDirectory:
    (tmp_path / "study").mkdir()
    return StudyDirectory(tmp_path / "study")


def test_another_identity_is_refused_and_the_difference_shown(study_dir: StudyDirectory) -> None:
    storage = open_storage(study_dir, None)
    open_study(study_dir, storage, SPACE, IDENTITY, True)
    open_study(study_dir, storage, SPACE, IDENTITY, True)
    with pytest.raises(StudyMismatchError, match="data: was 'abc', now 'xyz'"):
        open_study(study_dir, storage, SPACE, IDENTITY | {"data": "xyz"}, True)


def schema(study_dir: StudyDirectory) -> list[tuple[str, ...]]:
    with contextlib.closing(sqlite3.connect(study_dir.database)) as connection:
        return sorted(
            connection.execute(
                "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL UNION ALL "
                "SELECT 'version', schema_version, '' FROM version_info UNION ALL "
                "SELECT 'revision', version_num, '' FROM alembic_version"
            )
        )


def test_a_database_that_was_not_made_to_the_end_is_completed(study_dir: StudyDirectory) -> None:
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


def test_a_study_whose_creation_was_interrupted_is_created_again(study_dir: StudyDirectory) -> None:
    open_storage(study_dir, None).engine.dispose()
    empty = study_dir.database.read_bytes()
    writes = killed_at = 0

    def kill(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        nonlocal writes
        writes += not statement.startswith("SELECT")
        if writes == killed_at:
            raise KeyboardInterrupt

    while writes >= killed_at:
        writes, killed_at = 0, killed_at + 1
        study_dir.database.write_bytes(empty)
        storage = open_storage(study_dir, None)
        event.listen(storage.engine, "before_cursor_execute", kill)
        with contextlib.suppress(KeyboardInterrupt):
            open_study(study_dir, storage, SPACE, IDENTITY, True)
        storage.engine.dispose()
        study = open_study(study_dir, open_storage(study_dir, None), SPACE, IDENTITY, True).optuna
        assert study.metric_names == ["MRR@10"]
    assert killed_at > 3


def test_difference_names_every_key() -> None:
    shown = diff_text({"a": {"b": 1, "c": 2}, "d": None}, {"a": {"b": 1, "c": 3}, "e": "x"})
    assert shown.splitlines() == [
        "  a.c: was 2, now 3",
        "  d: was None, now not set",
        "  e: was not set, now 'x'",
    ]


def test_a_study_of_another_program_is_refused(study_dir: StudyDirectory) -> None:
    storage = open_storage(study_dir, None)
    optuna.create_study(storage=storage, study_name="study", direction="maximize").add_trial(
        optuna.trial.create_trial(value=1.0)
    )
    with pytest.raises(StudyMismatchError, match="created by another program"):
        open_study(study_dir, storage, SPACE, IDENTITY, True)


def test_a_commit_that_was_cut_off_is_taken_back(study_dir: StudyDirectory, tmp_path: Path) -> None:
    storage = open_storage(study_dir, None)
    open_study(study_dir, storage, SPACE, IDENTITY, True).optuna.add_trial(
        optuna.trial.create_trial(value=1.0)
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
def test_a_damaged_database_is_an_error_and_not_touched(study_dir: StudyDirectory, content: bytes) -> None:
    study_dir.database.write_bytes(content)
    with pytest.raises(StorageError, match=r"study\.db"):
        open_storage(study_dir, None)
    assert study_dir.database.read_bytes() == content


def test_a_foreign_database_is_an_error_and_not_touched(study_dir: StudyDirectory) -> None:
    with sqlite3.connect(study_dir.database) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    before = study_dir.database.read_bytes()
    with pytest.raises(StorageError, match="not one of Optuna"):
        open_storage(study_dir, None)
    assert study_dir.database.read_bytes() == before


def test_a_password_is_never_shown(study_dir: StudyDirectory) -> None:
    with pytest.raises(StorageError) as caught:
        open_storage(study_dir, "postgresql://me:secret@localhost:1/none")
    assert "secret" not in str(caught.value)


def test_no_such_study_in_the_database(study_dir: StudyDirectory) -> None:
    with pytest.raises(StudyNotFoundError, match="holds no study"):
        load_study(study_dir, open_storage(study_dir, None), SPACE)


def test_one_holder_at_a_time(study_dir: StudyDirectory) -> None:
    with (
        exclusive(study_dir),
        pytest.raises(StorageError, match=r"another run is using this study(.|\n)*--storage postgresql://"),
        exclusive(study_dir),
    ):
        pass
    with exclusive(study_dir):
        pass


def test_several_share_a_directory_with_a_server_alone(
    study_dir: StudyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_TIDY_SECONDS", 0.0)
    tidied: list[int] = []
    first, second = (shared(study_dir, partial(tidied.append, number)) for number in (1, 2))
    with first, second, pytest.raises(StorageError, match="another run"), exclusive(study_dir):
        pass
    assert tidied == [1]
    third = shared(study_dir, partial(tidied.append, 3))
    with exclusive(study_dir), pytest.raises(StorageError, match="the same --storage"), third:
        pass
    assert tidied == [1]


def test_where_there_are_no_locks_a_server_alone_will_do(
    study_dir: StudyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", unsupported)
    tidied: list[int] = []
    with (
        shared(study_dir, partial(tidied.append, 1)),
        shared(study_dir, partial(tidied.append, 2)),
    ):
        assert tidied == [1, 2]
    with (
        pytest.raises(StorageError, match=r"does not support locks \(flock: Function not implemented\)"),
        exclusive(study_dir),
    ):
        pass


def test_a_lock_that_is_lost_while_it_is_shared_is_taken_again(
    study_dir: StudyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    flock = fcntl.flock

    def lost_once(handle: int, kind: int) -> None:
        asked.append(kind)
        if len(asked) == 2:  # as if another had come between: the system does not go from one to the other
            flock(handle, fcntl.LOCK_UN)
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        flock(handle, kind)

    monkeypatch.setattr("fcntl.flock", lost_once)
    tidied: list[int] = []
    with shared(study_dir, partial(tidied.append, 1)):
        monkeypatch.undo()
        with pytest.raises(StorageError, match="another run"), exclusive(study_dir):
            pass
    assert tidied == [1] and asked[-1] == fcntl.LOCK_SH | fcntl.LOCK_NB


def test_only_what_nobody_uses_is_tidied_up(study_dir: StudyDirectory) -> None:
    other = subprocess.Popen(["true"])
    other.wait()
    made = {
        mark: replace(study_dir, coordinator=mark).prepared
        for mark in (
            machine.process_name(),
            f"{machine.host_name()}-{other.pid}",
            "elsewhere-7",
            "elsewhere-8",
        )
    }
    files = [study_dir.checkpoints / ".trial-0001.pth.part", study_dir.checkpoints / ".trial-0002.pth.part"]
    study_dir.checkpoints.mkdir()
    for path in made.values():
        path.mkdir()
    for path in files:
        path.touch()
    for path in (made["elsewhere-8"], files[1]):
        os.utime(path, (0, 0))
    gone = abandoned(study_dir, study_dir.leftovers())
    assert set(gone) == {made[f"{machine.host_name()}-{other.pid}"], made["elsewhere-8"], files[1]}


def test_a_directory_goes_with_the_input_that_is_refused(tmp_path: Path) -> None:
    def refused(study_dir: StudyDirectory, error: TuneError, *files: str) -> None:
        with pytest.raises(type(error)), exclusive(study_dir):
            for file in ("logs/worker-0.log", *files):
                (study_dir.directory / file).parent.mkdir(exist_ok=True)
                (study_dir.directory / file).touch()
            raise error

    refused(StudyDirectory(tmp_path / "a" / "b" / "study"), InputError("no data"))
    assert not list(tmp_path.iterdir())
    # The log of a worker that crashed is referred to; a study, and what someone else put there, is not ours.
    kept: list[tuple[TuneError, str]] = [
        (WorkerError("it crashed"), "logs/worker-0.log"),
        (InputError("another space"), "study.db"),
        (InputError("another space"), "manifest.json"),
        (InputError("no data"), "notes.txt"),
    ]
    for number, (error, file) in enumerate(kept):
        study_dir = StudyDirectory(tmp_path / str(number))
        refused(study_dir, error, file)
        assert (study_dir.directory / file).exists()
    (tmp_path / "mine").mkdir()
    refused(StudyDirectory(tmp_path / "mine"), InputError("no data"))
    assert (tmp_path / "mine" / "study.lock").exists()


def test_a_password_is_not_kept_and_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study_dir = StudyDirectory(tmp_path / "study")
    study_dir.directory.mkdir()
    monkeypatch.setattr("sys.argv", ["sasrecf-tune", "run", "--storage=postgresql://me:s3/cr:et@host/db"])
    write_manifest(study_dir, {})
    text = study_dir.manifest.read_text()
    assert "s3/cr" not in text and "--storage=postgresql://me:***@host/db" in text
    with pytest.raises(InputError, match="not stored"):
        open_storage(study_dir, "postgresql://me:***@host/db")


def test_a_password_in_the_query_is_shown_to_nobody(
    study_dir: StudyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = (
        "postgresql://me@host/db?passfile=/home/me/.pgpass&PassWord=s3cret&sslmode=require&sslpassword=t0p"
    )
    safe = "postgresql://me@host/db?passfile=/home/me/.pgpass&PassWord=***&sslmode=require&sslpassword=***"
    assert mask_passwords(address) == safe
    assert mask_passwords(f"{address} {address}") == f"{safe} {safe}"
    said = damage.display_url(study_dir, address)
    assert "s3cret" not in said and "t0p" not in said and "PassWord=***" in said
    monkeypatch.setattr("sys.argv", ["sasrecf-tune", "run", f"--storage={address}"])
    write_manifest(study_dir, {"study": "study"})
    assert f"--storage={safe}" in study_dir.manifest.read_text()
    with pytest.raises(InputError, match="is not stored with the study"):
        open_storage(study_dir, said)


@pytest.mark.parametrize(
    ("address", "driver"),
    [
        ("postgresql://me@host/db", "postgresql+psycopg"),
        ("postgresql+psycopg2://me@host/db", "postgresql+psycopg2"),
        ("mysql://me@host/db", "mysql+pymysql"),
        ("mysql+mysqldb://me@host/db", "mysql+mysqldb"),
        ("mariadb://me@host/db", "mysql+pymysql"),
        ("mariadb+pymysql://me@host/db", "mysql+pymysql"),
        ("mariadb+mysqldb://me@host/db", "mysql+mysqldb"),
    ],
)
def test_an_address_is_for_the_drivers_that_the_extras_install(address: str, driver: str) -> None:
    assert with_driver(make_url(address)).drivername == driver


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("sqlite:///study.db", "SQLite is not a server"),
        ("tuning", "not a database address"),
        ("mysql://me:secret@host:abc/tuning", "the port is not a number"),
        ("mysql://me:sec@ret@host/tuning", "Write %40 for each @"),
        ("mysql://me@host", "has no database name"),
    ],
)
def test_what_is_no_server_is_refused(cli: Cli, tmp_path: Path, address: str, message: str) -> None:
    (tmp_path / "hyper.test").write_text("learning_rate choice [0.01]\n")
    done = cli("run", "--params-file", "hyper.test", "--dataset", "ml-100k", "--storage", address)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
    assert "secret" not in done.stderr and "ret@" not in done.stderr
    assert not (tmp_path / "tuning").exists()


@pytest.mark.parametrize(
    ("address", "fix"),
    [
        ("postgres://me@host/db", "Write postgresql://"),
        ("mysq://me@host/db", "mysql://USER@HOST/DATABASE"),
        ("oracle://me@host/db", "such as postgresql://"),
    ],
)
def test_what_is_no_address_of_a_known_server_is_refused(
    study_dir: StudyDirectory, address: str, fix: str
) -> None:
    with pytest.raises(InputError) as caught:
        open_storage(study_dir, address)
    assert fix in caught.value.fix and address.partition(":")[0] in caught.value.what


@pytest.mark.parametrize(
    ("address", "missing", "fix"),
    [
        ("mysql://me@host/db", "pymysql", "Install it where"),
        ("mariadb+mysqldb://me@host/db", "MySQLdb", "or write mysql://..., and install"),
        ("postgresql+psycopg2://me@host/db", "psycopg2", "or write postgresql://..., and install"),
    ],
)
def test_a_missing_driver_is_told_how_to_get(
    study_dir: StudyDirectory, monkeypatch: pytest.MonkeyPatch, address: str, missing: str, fix: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    extra = "postgresql" if "postgresql" in address else "mysql"
    with pytest.raises(StorageError) as caught:
        open_storage(study_dir, address)
    assert "the database driver is not installed" in caught.value.what
    assert fix in caught.value.fix and caught.value.fix.endswith(install_command(extra=extra))
    assert "constraints-new.txt '.[mysql]' && pip" in install_command((3, 12), "mysql")


def test_a_server_that_cannot_be_reached_is_found_before_data_is_prepared(tmp_path: Path) -> None:
    address = "postgresql://tuner:s3cret@127.0.0.1:1/tuning"
    name = "study"
    settings = RunSettings(
        params_file=Path("hyper.test"),
        name=name,
        out=tmp_path,
        base={},
        metric=parse_metric("MRR@10"),
        storage=address,
    )
    with (
        pytest.raises(StorageError, match=r"onnection refused(.|\n)*whether the server runs") as caught,
        open_session(settings, StudyDirectory(tmp_path / name)),
    ):
        pytest.fail("has begun")
    assert "s3cret" not in str(caught.value)


def test_a_study_on_a_server_says_where_it_is(study_dir: StudyDirectory) -> None:
    study_dir.directory.mkdir(exist_ok=True)
    study_dir.manifest.write_text(json.dumps({"storage": "postgresql://tuner:***@dbhost/tuning"}))
    with pytest.raises(StorageError, match=r"in another database: postgresql://tuner:\*\*\*@dbhost"):
        check_database(study_dir, None)


def test_a_study_in_its_directory_is_not_looked_for_on_a_server() -> None:
    own = RunSettings(params_file=Path("hyper.test"), name="s", base={}, metric=parse_metric("MRR@10"))
    assert own.database("postgresql://dbhost/tuning") is None
    there = replace(own, storage="postgresql://tuner:***@dbhost/tuning")
    assert there.database(None) == there.storage and there.database("postgresql://a/b") == "postgresql://a/b"
