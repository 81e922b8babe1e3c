"""What MySQL and MariaDB need to store a study as the other databases do."""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection, DateTime, Text, bindparam, func, select, text

from sasrecf_tune.errors import StorageError
from sasrecf_tune.storage.database.optuna_internals import TABLES

# Optuna leaves the column types to the server, where a text has at most 64 kB (learning curves of many
# metrics have more), times have no fractions of a second, and names that differ only in case are often equal.
_CHARSET = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
# How often, and how long each time, to wait for the lock on creating tables: for five minutes in all, and
# each time for less than the driver waits for an answer (server._DRIVER_ARGUMENTS).
_LOCK_ATTEMPTS, _LOCK_SECONDS = 30, 10


def session_statement(idle_seconds: int) -> str:
    """The statement that has a session lose its locks when it idles, and refuse values that are too long.

    It also sets UTC: in local time an hour comes twice when summer time ends (heartbeats.database_time).
    """
    return (
        f"SET SESSION wait_timeout = {idle_seconds}, innodb_lock_wait_timeout = {max(1, idle_seconds // 3)}, "
        "time_zone = '+00:00', sql_mode = CONCAT_WS(',', NULLIF(@@sql_mode, ''), 'STRICT_TRANS_TABLES')"
    )


def wait_for_lock(connection: Connection, database: str) -> None:
    """Take the lock on creating tables in the database, until the connection ends.

    Raises:
        StorageError: another connection holds it for minutes.
    """
    # Names of locks have at most 64 characters, and are common to all databases of the server.
    name = f"sasrecf_tune:{database}"
    if len(name) > 64:
        name = f"sasrecf_tune:{hashlib.sha256(database.encode()).hexdigest()[:40]}"
    for _ in range(_LOCK_ATTEMPTS):
        if connection.execute(select(func.get_lock(name, _LOCK_SECONDS))).scalar() == 1:
            return
    raise StorageError(
        "another run has been creating the tables of the study's database for minutes",
        where=database,
        fix="Run the same command again when it has ended. If there is no other run, the server has a stale "
        "connection: SHOW PROCESSLIST shows it, KILL ends it.",
    )


def complete_tables(connection: Connection) -> None:
    """Alter Optuna's tables to what a study needs; the caller holds the lock.

    Unlike PostgreSQL's, they are not created in one transaction: a kill may leave them without an index, and
    Optuna never creates it later. Without the index of names, a study could be created twice.
    """
    narrow = connection.execute(
        text(
            "SELECT DISTINCT table_name FROM information_schema.columns WHERE table_schema = DATABASE() "
            "AND table_name IN :names AND (data_type = 'text' OR datetime_precision = 0 "
            "OR data_type = 'varchar' AND collation_name <> 'utf8mb4_bin')"
        ).bindparams(bindparam("names", list(TABLES), expanding=True))
    ).scalars()
    for name in list(narrow):
        changes = [f"CONVERT TO {_CHARSET}"]
        for column in TABLES[name].columns:
            if isinstance(column.type, Text):
                changes.append(f"MODIFY {column.name} MEDIUMTEXT {_CHARSET}")
            elif isinstance(column.type, DateTime):
                changes.append(f"MODIFY {column.name} DATETIME(6)" + ("" if column.nullable else " NOT NULL"))
        connection.execute(text(f"ALTER TABLE {name} {', '.join(changes)}"))
    for table in TABLES.values():
        for index in table.indexes:
            index.create(connection, checkfirst=True)
