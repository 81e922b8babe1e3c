"""What MySQL and MariaDB need to keep a study as the other databases do."""

from __future__ import annotations

import hashlib

from optuna.storages._rdb import models
from sqlalchemy import Connection, DateTime, Text, bindparam, func, select, text

from sasrecf_tune.errors import StorageError

# Optuna leaves it to the server, whose texts have 64 kB, where learning curves of many metrics have more;
# whose times have no fractions of a second; for whom names that differ in capitals only are mostly the same.
_LETTERS = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
# How often, and how long each time, the lock of those who make tables is waited for: for five minutes in all,
# and each time for less than the driver waits for an answer (server._DRIVERS).
_TURNS, _TURN_SECONDS = 30, 10


def session_limits(idle_seconds: int) -> str:
    """The statement by which a session loses its locks when it idles, and never cuts what is too long.

    On its own clock an hour comes twice when summer time ends; coordinators.now needs one that goes on.
    """
    return (
        f"SET SESSION wait_timeout = {idle_seconds}, innodb_lock_wait_timeout = {max(1, idle_seconds // 3)}, "
        "time_zone = '+00:00', sql_mode = CONCAT_WS(',', NULLIF(@@sql_mode, ''), 'STRICT_TRANS_TABLES')"
    )


def wait_for_turn(connection: Connection, database: str) -> None:
    """Hold a lock that one connection may hold for the database, until this one ends.

    Raises:
        StorageError: another holds it for minutes.
    """
    # The server has one list of names for all its databases, of 64 characters each.
    name = f"sasrecf_tune:{database}"
    if len(name) > 64:
        name = f"sasrecf_tune:{hashlib.sha256(database.encode()).hexdigest()[:40]}"
    for _ in range(_TURNS):
        if connection.execute(select(func.get_lock(name, _TURN_SECONDS))).scalar() == 1:
            return
    raise StorageError(
        "another run is making the tables of the study's database, and has not ended for minutes",
        where=database,
        fix="Run the same command again when it has. If no other runs, a server's connection is left over: "
        "SHOW PROCESSLIST shows it, KILL ends it.",
    )


def complete_tables(connection: Connection) -> None:
    """Bring Optuna's tables, which are there, to what a study needs; nobody else may be at it.

    Unlike PostgreSQL's, they are not made in one transaction: who is killed meanwhile may leave them without
    an index, which Optuna never makes again, and without that of the names a study could be begun twice.
    """
    tables = models.BaseModel.metadata.tables
    narrow = connection.execute(
        text(
            "SELECT DISTINCT table_name FROM information_schema.columns WHERE table_schema = DATABASE() "
            "AND table_name IN :names AND (data_type = 'text' OR datetime_precision = 0 "
            "OR data_type = 'varchar' AND collation_name <> 'utf8mb4_bin')"
        ).bindparams(bindparam("names", list(tables), expanding=True))
    ).scalars()
    for name in list(narrow):
        changes = [f"CONVERT TO {_LETTERS}"]
        for column in tables[name].columns:
            if isinstance(column.type, Text):
                changes.append(f"MODIFY {column.name} MEDIUMTEXT {_LETTERS}")
            elif isinstance(column.type, DateTime):
                changes.append(f"MODIFY {column.name} DATETIME(6)" + ("" if column.nullable else " NOT NULL"))
        connection.execute(text(f"ALTER TABLE {name} {', '.join(changes)}"))
    for table in tables.values():
        for index in table.indexes:
            index.create(connection, checkfirst=True)
