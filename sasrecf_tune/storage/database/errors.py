"""Turns errors of SQLite, database servers and drivers into StorageErrors that say what to do."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from sasrecf_tune.errors import StorageError
from sasrecf_tune.storage.database.address import check_address
from sasrecf_tune.storage.database.sqlite_file import connect, odd_companion, odd_schema
from sasrecf_tune.storage.directory import ANOTHER_STUDY, StudyDirectory
from sasrecf_tune.storage.files import (
    DISK_FULL_FIX,
    NOT_WRITABLE_FIX,
    READ_ONLY_FIX,
    RUN_AGAIN,
    read_own,
    refuse_link,
)
from sasrecf_tune.storage.url_masking import mask_address, mask_message

_RESTORE = f"Nothing was changed. Restore it from a copy, or {ANOTHER_STUDY}"
# Messages of SQLite, and what to do. It reports a file at its size limit as "disk I/O error".
_REMEDIES = (
    ("is full", DISK_FULL_FIX),
    ("disk I/O error", DISK_FULL_FIX),
    ("readonly", READ_ONLY_FIX),
    ("unable to open", NOT_WRITABLE_FIX),
    ("malformed", _RESTORE),
    ("too big", _RESTORE),
    ("not a database", _RESTORE),
    ("locked", f"Close other programs that have it open, such as a database browser. {RUN_AGAIN}"),
)
_HOST = "Check the host and port, and whether the server runs and accepts connections from this machine."
_LOGIN = (
    "Check the user and the password: in the address, which SASRECF_TUNE_STORAGE can hold, or in ~/.pgpass "
    "(PostgreSQL)."
)
_RIGHTS = (
    "The user must be allowed to create and alter tables and indexes in this database, "
    "to read and to write them."
)
# Messages of PostgreSQL, MySQL and their drivers, in lower case.
_SERVER_REMEDIES = (
    ("unknown database", "Create the database (CREATE DATABASE), or correct its name in the address."),
    ("database .* does not exist", "Create the database (createdb), or correct its name in the address."),
    ("access denied for user .* to database", _RIGHTS),
    ("permission denied|command denied|must be owner", _RIGHTS),
    ("authentication failed|access denied|no password|role .* does not exist|no pg_hba.conf", _LOGIN),
    (
        "can't connect|connection refused|timeout expired|timed out|resolve host|unreachable|no route",
        _HOST,
    ),
)


class CorruptStudyError(Exception):
    """The database has content that neither this program nor Optuna writes; the message says what."""


@contextlib.contextmanager
def storage_errors(study_dir: StudyDirectory, storage: str | None) -> Iterator[None]:
    """Turn every error of the database in the block into a StorageError.

    Args:
        study_dir: the study.
        storage: the address of the database, None for SQLite in the study directory.

    Raises:
        StorageError: says where, why, and what to do.
    """
    try:
        yield
    except (StorageInternalError, SQLAlchemyError, sqlite3.Error) as error:
        if storage is None and not study_dir.database.exists():
            raise StorageError(
                f"the study's database was removed: {driver_message(error)}",
                where=str(study_dir.database),
                fix="Restore it from a copy, or start the study again.",
            ) from error
        raise storage_error(error, study_dir, storage) from error


@contextlib.contextmanager
def reading_errors(study_dir: StudyDirectory, storage: str | None) -> Iterator[None]:
    """Turn every error of the database, and a CorruptStudyError, into a StorageError.

    Raises:
        StorageError: as in `storage_errors`.
    """
    try:
        with storage_errors(study_dir, storage):
            yield
    except CorruptStudyError as error:
        raise StorageError(
            f"unexpected content in the study database: {error}",
            where=display_url(study_dir, storage),
            fix=_RESTORE,
        ) from error


def storage_error(error: BaseException, study_dir: StudyDirectory, storage: str | None) -> StorageError:
    """The error for people that an error of the database becomes."""
    reason, where = driver_message(error), display_url(study_dir, storage)
    if storage is None:
        return _sqlite_error(reason, where)
    reason = mask_message(reason, storage)
    small = reason.lower()
    found = (remedy for sign, remedy in _SERVER_REMEDIES if re.search(sign, small))
    fix = next(found, "Check the address and rights.")
    again = RUN_AGAIN if study_dir.manifest.exists() else "Then run the same command again."
    return StorageError(f"database error: {reason}", where=where, fix=f"{fix} {again}")


def check_database(study_dir: StudyDirectory, storage: str | None) -> None:
    """Check SQLite's file, or a server's address, before it is used; nothing is changed.

    Raises:
        InputError: it is not the address of a supported server.
        StorageError: the file is corrupt, of another program, or missing although the study was started.
    """
    if storage is not None:
        check_address(storage)
        return
    path = study_dir.database
    lost = not path.exists() or (path.is_file() and path.stat().st_size == 0)
    if lost and not path.is_symlink() and study_dir.manifest.exists():
        # A new database would start the study again, and replace the results in its other files.
        if address := _recorded_address(study_dir):
            raise StorageError(
                f"this study is in another database: {address}",
                where=str(study_dir.directory),
                fix="Give that address with --storage, or in SASRECF_TUNE_STORAGE.",
            )
        raise StorageError(
            "the study was started, but its database is " + ("empty" if path.exists() else "missing"),
            where=str(path),
            fix=f"Restore it from a copy, give --storage if it is in another database, or {ANOTHER_STUDY}",
        )
    check_study_file(study_dir)


def check_study_file(study_dir: StudyDirectory) -> None:
    """Check the SQLite database of a study: as `check_sqlite`, and that it is no link.

    Raises:
        StorageError: it is a link, or as in `check_sqlite`.
    """
    # Even to read it: an unfinished transaction is rolled back, and an empty file gets tables.
    refuse_link(study_dir.database, "SQLite may change what it leads to")
    check_sqlite(study_dir.database)


def _recorded_address(study_dir: StudyDirectory) -> str:
    """The address in the study's manifest, without a password; "" for SQLite in its directory."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return str(json.loads(read_own(study_dir.manifest)).get("storage") or "")
    return ""


def check_sqlite(path: Path) -> None:
    """Read all of an SQLite database, which takes about a second for a gigabyte.

    Raises:
        StorageError: it is corrupt, or not of Optuna, or cannot be read now.
    """
    if not path.exists():
        return
    if not path.is_file():
        raise StorageError("not a file", where=str(path), fix=f"Move it away, or {ANOTHER_STUDY}")
    if companion := odd_companion(path):
        raise StorageError(
            f"a file beside the study's database cannot be used: {companion[1]}",
            where=str(companion[0]),
            fix="No run writes such a file. Remove it, or restore the study from a copy.",
        )
    odd = ""
    try:
        # Not read-only: SQLite rolls back the unfinished transaction of a killed run when it opens the file.
        with contextlib.closing(connect(path)) as connection:
            odd = odd_schema(connection)
            (verdict,) = ("ok",) if odd else connection.execute("PRAGMA quick_check(1)").fetchone()
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    except sqlite3.OperationalError as error:  # locked, or it cannot be opened: it may be intact
        raise _sqlite_error(str(error), str(path)) from error
    except sqlite3.Error as error:
        verdict, tables = str(error), set()
    except UnicodeDecodeError:
        verdict, tables = "it has text that is not UTF-8", set()
    if verdict != "ok":
        raise StorageError(
            f"the database is corrupt or not SQLite: {verdict.split(chr(10))[-1]}",
            where=str(path),
            fix=_RESTORE,
        )
    if odd:
        raise StorageError(
            f"the database has content that Optuna does not create: {odd}", where=str(path), fix=_RESTORE
        )
    if "studies" not in tables and (tables or path.stat().st_size):
        raise StorageError(
            "the database is not one of Optuna",
            where=str(path),
            fix=f"Move it away, or {ANOTHER_STUDY}",
        )


def display_url(study_dir: StudyDirectory, storage: str | None) -> str:
    """The file or address of the database, without a password."""
    return str(study_dir.database) if storage is None else mask_address(storage)


def _sqlite_error(reason: str, where: str) -> StorageError:
    # SQLite says "disk I/O error" too if it may not write or remove its journal.
    places = [path for path in (Path(where), Path(where).parent) if path.exists()]
    if "disk I/O" in reason and not all(os.access(path, os.W_OK) for path in places):
        return StorageError(f"database error: {reason}", where=where, fix=READ_ONLY_FIX)
    fix = next(
        (remedy for sign, remedy in _REMEDIES if sign in reason), f"Check the address and rights. {RUN_AGAIN}"
    )
    return StorageError(f"database error: {reason}", where=where, fix=fix)


def driver_message(error: BaseException) -> str:
    """The message of the database itself, in one line."""
    # Optuna wraps the error of SQLAlchemy, which wraps that of the driver.
    while not isinstance(error, SQLAlchemyError) and error.__cause__ is not None:
        error = error.__cause__
    original = getattr(error, "orig", None) or error
    # MySQL's drivers put a number before the message.
    words = original.args[1] if len(original.args) == 2 and isinstance(original.args[0], int) else original
    return " ".join(str(words or original).split())[:300]
