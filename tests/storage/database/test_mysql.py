"""Differences of MySQL and MariaDB, on a real MariaDB; and errors of addresses and servers."""

from __future__ import annotations

import contextlib
import math
import random
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import make_url

from sasrecf_tune.errors import StorageError
from sasrecf_tune.messages import Failure, FailureKind
from sasrecf_tune.storage.database import mysql
from sasrecf_tune.storage.database import server as server_module
from sasrecf_tune.storage.database.errors import driver_message
from sasrecf_tune.storage.database.open import open_storage
from sasrecf_tune.storage.database.server import with_driver
from sasrecf_tune.storage.directory import StudyDirectory
from tests.support.database_servers import MariaDB, Server, free_port
from tests.support.peer import Peer, result

on_both = pytest.mark.parametrize("server", ["postgresql", "mariadb"], indirect=True)
on_mariadb = pytest.mark.parametrize("server", ["mariadb"], indirect=True)


@pytest.fixture
def study_dir(tmp_path: Path) -> StudyDirectory:
    return StudyDirectory(tmp_path / "study")


@contextlib.contextmanager
def connected(url: str) -> Iterator[Connection]:
    """Another program's connection."""
    engine = create_engine(with_driver(make_url(url)))
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


@on_mariadb
def test_tables_of_other_programs_are_altered(url: str, study_dir: StudyDirectory, server: Server) -> None:
    plain = with_driver(make_url(url)).render_as_string(hide_password=False)
    optuna.create_study(storage=RDBStorage(plain), study_name="Study")
    with connected(url) as connection:
        # As after a kill between a table and its index, which Optuna never creates later.
        connection.execute(text("DROP INDEX ix_studies_study_name ON studies"))
        connection.execute(text("SET GLOBAL sql_mode = ''"))
    storage = open_storage(study_dir, url)
    try:
        names = ["study", "Étude 研究 🎓", "Etude 研究 🎓"]
        ids = [storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], name) for name in names]
        assert [storage.get_study_id_from_name(name) for name in names] == ids and len(set(ids)) == 3
        for name in ("Study", *names):
            with pytest.raises(optuna.exceptions.DuplicatedStudyError):
                storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], name)
        with pytest.raises(StorageInternalError):  # and not cut
            storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "x" * 513)
        # A curve of 20 metrics over 500 validations, and a choice of many values.
        curve = {f"metric@{n}": [round(random.Random(n).random(), 4)] * 500 for n in range(20)}
        many = optuna.distributions.CategoricalDistribution([f"value number {n}" for n in range(5000)])
        trial = storage.create_new_trial(ids[0])
        storage.set_trial_system_attr(trial, "curve", curve)
        storage.set_trial_param(trial, "many", 4999.0, many)
        found = storage.get_trial(trial)
        assert found.system_attrs["curve"] == curve and found.params == {"many": "value number 4999"}
        assert found.datetime_start is not None and storage.set_trial_state_values(trial, TrialState.FAIL)
        assert found.distributions["many"] == many
    finally:
        storage.engine.dispose()
        with connected(url) as connection:
            connection.execute(text("SET GLOBAL sql_mode = DEFAULT"))


def test_a_servers_port_does_not_depend_on_the_seed() -> None:
    state = random.getstate()
    free_port()
    assert random.getstate() == state


@on_mariadb
def test_tables_are_created_by_one_run_at_a_time(
    url: str, study_dir: StudyDirectory, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mysql, "_LOCK_ATTEMPTS", 2)
    monkeypatch.setattr(mysql, "_LOCK_SECONDS", 0)
    long = server.create("a_name_as_long_as_can_be_" + uuid.uuid4().hex)
    with connected(url) as other, connected(long) as another:
        mysql.wait_for_lock(other, str(make_url(url).database))
        with pytest.raises(StorageError, match="another run has been creating the tables"):
            open_storage(study_dir, url)
        assert not sqlalchemy.inspect(other).get_table_names()
        # Another database of the same server has its own turn, whatever its name.
        open_storage(study_dir, long).engine.dispose()
        mysql.wait_for_lock(another, str(make_url(long).database))
        with pytest.raises(StorageError, match="another run has been creating the tables"):
            open_storage(study_dir, long)
    open_storage(study_dir, url).engine.dispose()


@on_both
def test_numbers_are_stored_exactly(url: str, study_dir: StudyDirectory) -> None:
    draw = random.Random(1)
    numbers = [
        0.1 + 0.2,
        1e-5,
        5e-324,
        1.7976931348623157e308,
        1 / 3,
        *map(math.exp, range(-40, 40, 7)),
    ]
    numbers += [draw.random() * 10.0 ** draw.randint(-12, 3) for _ in range(50)]
    storage = open_storage(study_dir, url)
    study = storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "study")
    trial = storage.create_new_trial(study)
    anything = optuna.distributions.FloatDistribution(-1e308, 1e308)
    steps = [*numbers, math.inf, -math.inf, math.nan]
    for step, number in enumerate(steps):
        storage.set_trial_intermediate_value(trial, step, number)
    for place, number in enumerate(numbers):
        if abs(number) < 1e308:
            storage.set_trial_param(trial, f"p{place}", number, anything)
    storage.set_trial_user_attr(trial, "valid", numbers)
    storage.set_trial_state_values(trial, TrialState.COMPLETE, [0.1 + 0.2])
    found = storage.get_trial(trial)
    storage.engine.dispose()
    assert repr([found.intermediate_values[step] for step in range(len(steps))]) == repr(steps)
    assert all(repr(found.params[name]) == repr(numbers[int(name[1:])]) for name in found.params)
    assert len(found.params) == len(numbers) - 1 and repr(found.user_attrs["valid"]) == repr(numbers)
    assert found.value == 0.1 + 0.2


@on_mariadb
def test_all_spellings_of_an_address_open_one_study(join: Callable[..., Peer], url: str) -> None:
    first, second = (join(address=url.replace("mysql", kind, 1)) for kind in ("mysql", "mariadb+pymysql"))
    trials = [first.begin(), second.begin()]
    assert [trial.number for trial in trials] == [0, 1]
    # The second attempt of an attribute too: Optuna asks for the dialect's name to write it.
    failure = Failure(trials[1].number, FailureKind.WORKER_DIED, "its worker died")
    second.study.retry(trials[1], failure)
    trials[1] = second.begin()
    assert second.study.retry(trials[1], failure) == 2
    trials[1] = second.begin()
    for one, trial in zip((first, second), trials, strict=True):
        one.tell(trial)
    first.look()
    assert len(first.study.take_finished_by_peers()) == 1
    # As any program reads it.
    plain = optuna.load_study(
        study_name="study", storage=with_driver(make_url(url)).render_as_string(hide_password=False)
    )
    assert [trial.state for trial in plain.trials] == [TrialState.COMPLETE] * 2


@on_both
def test_a_coordinator_that_locks_the_study_and_idles_is_disconnected(
    join: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = join()
    monkeypatch.setattr(server_module, "IDLE_SECONDS", 1)  # for connections from here on
    idle = join()
    with pytest.raises(StorageInternalError), idle.shared.transaction():
        assert idle.begin().number == 0
        trial = other.begin()  # as soon as it may
        idle.shared.set_study_user_attr(0, "too", "late")
    assert trial.number == 0 and other.study.owns(trial)
    assert idle.begin().number == 1 and "too" not in other.storage.get_study_user_attrs(1)
    other.tell(trial)


@on_mariadb
def test_a_deadlock_is_retried_silently(join: Callable[..., Peer], url: str) -> None:
    one = join()
    trial = one.begin()
    waiting: list[threading.Thread] = []
    with connected(url) as other:
        # The server rolls back the transaction with fewer changes: not this one.
        other.execute(text("CREATE TABLE ballast (number INT)"))
        other.execute(text("INSERT INTO ballast VALUES (1)" + ", (1)" * 999))
        other.execute(text("SELECT trial_id FROM trials FOR UPDATE"))

        def want_the_study(*_: Any) -> None:
            def want() -> None:
                other.execute(text("SELECT study_id FROM studies FOR UPDATE"))
                other.rollback()

            if not waiting:  # one.tell holds it from here on, and wants the trial
                waiting.append(threading.Thread(target=want))
                waiting[0].start()

        event.listen(one.storage.engine, "after_cursor_execute", want_the_study)
        errors: list[int] = []
        event.listen(
            one.storage.engine,
            "handle_error",
            lambda context: errors.append(context.original_exception.args[0]),
        )
        one.tell(trial, 0.75)
        waiting[0].join()
    assert errors == [1213] and one.said == []
    (record,) = one.study.records()
    found = one.storage.get_all_trials(1)[0]
    assert record.score == found.value == 0.75 and found.user_attrs["epochs"] == 4


@on_mariadb
def test_a_lock_timeout_is_retried_and_reported(
    join: Callable[..., Peer], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "IDLE_SECONDS", 1)
    one = join()
    trial = one.begin()
    with connected(url) as other:
        other.execute(text("SELECT study_id FROM studies FOR UPDATE"))
        one.peers.reconnect._pause = lambda _: other.rollback()
        one.study.tell(trial, result(trial.number))
    assert "(Lock wait timeout exceeded; try restarting transaction); retrying" in one.said[0]
    assert "answers again" in one.said[1]
    assert one.storage.get_all_trials(1)[0].state == TrialState.COMPLETE


@on_mariadb
def test_a_permanent_error_is_not_retried(join: Callable[..., Peer]) -> None:
    one = join()
    trial = one.begin()
    with one.storage.engine.begin() as connection:
        connection.execute(text("ALTER TABLE trials DROP COLUMN datetime_complete"))
    with pytest.raises(StorageInternalError) as refused:
        one.tell(trial)
    assert (
        "Unknown column" in driver_message(refused.value)
        and not one.said
        and not one.peers.reconnect.is_disconnected
    )


@pytest.mark.parametrize(
    ("server", "wrong", "said", "remedy"),
    [
        ("mariadb", {"password": "n0t it"}, "Access denied for user 'tuner'@", "the user and the password"),
        ("mariadb", {"database": "nowhere"}, "Unknown database 'nowhere'", "CREATE DATABASE"),
        ("mariadb", {"port": 1}, "Can't connect to MySQL server on '127.0.0.1'", "whether the server runs"),
        ("mariadb", {"host": "no.such.host.invalid"}, "Can't connect to MySQL server on", "Check the host"),
        ("postgresql", {"database": "nowhere"}, 'database "nowhere" does not exist', "createdb"),
        ("postgresql", {"username": "nobody"}, 'role "nobody" does not exist', "the user and the password"),
        ("postgresql", {"host": "127.0.0.1", "port": 1, "query": {}}, "refused", "whether the server runs"),
    ],
    indirect=["server"],
)
def test_an_error_in_the_address_is_explained(
    url: str, study_dir: StudyDirectory, wrong: dict[str, Any], said: str, remedy: str
) -> None:
    address = make_url(url).set(**wrong).render_as_string(hide_password=False)
    with pytest.raises(StorageError) as first:
        open_storage(study_dir, address)
    assert said in str(first.value) and remedy in first.value.fix
    assert "continues the study" not in first.value.fix
    assert "(1" not in str(first.value) and "(2" not in str(first.value)
    assert MariaDB.password not in str(first.value) and "n0t" not in str(first.value)
    study_dir.directory.mkdir()
    study_dir.manifest.touch()
    with pytest.raises(StorageError, match="it continues the study"):
        open_storage(study_dir, address)


@on_mariadb
def test_missing_rights_are_explained(url: str, study_dir: StudyDirectory) -> None:
    with connected(url) as connection:
        database = make_url(url).database
        connection.execute(text("CREATE OR REPLACE USER guest@127.0.0.1 IDENTIFIED BY 'guest'"))
        connection.execute(text(f"GRANT SELECT ON `{database}`.* TO guest@127.0.0.1"))
    address = make_url(url).set(username="guest", password="guest").render_as_string(hide_password=False)
    with pytest.raises(StorageError, match=r"CREATE command denied(.|\n)*allowed to create and alter"):
        open_storage(study_dir, address)
