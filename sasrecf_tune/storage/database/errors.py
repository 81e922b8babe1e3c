"""What can befall a study's database, said to people; no other module knows the database's own errors."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from sqlalchemy.exc import SQLAlchemyError

from sasrecf_tune.errors import InputError, StorageError
from sasrecf_tune.storage.directory import ANOTHER_STUDY, StudyDirectory
from sasrecf_tune.storage.files import AGAIN, FULL, NO_RIGHTS
from sasrecf_tune.storage.url_masking import is_masked, mask_passwords

_RESTORE = f"Nothing was changed. Restore it from a copy, or {ANOTHER_STUDY}"
# What SQLite says, and what to do about it. "disk I/O error" is all it says of a file at its size limit.
_REMEDIES = (
    ("is full", FULL),
    ("disk I/O error", FULL),
    ("readonly", NO_RIGHTS),
    ("unable to open", NO_RIGHTS),
    ("malformed", _RESTORE),
    ("not a database", _RESTORE),
    ("locked", f"Close what else has it open, such as a database browser. {AGAIN}"),
)
_NOBODY = "Check the host and the port, and whether the server runs and takes connections from this machine."
_WHO = (
    "Check the user and the password: in the address, or in ~/.pgpass (PostgreSQL), or in the file that "
    "?read_default_file=... in the address names (MySQL, MariaDB)."
)
_RIGHTS = (
    "The user must be allowed to create and alter tables and indexes in this database, "
    "to read and to write them."
)
# What PostgreSQL, MySQL and their drivers say, in small letters.
_SERVERS_REMEDIES = (
    ("unknown database", "Make the database first: CREATE DATABASE, or correct its name in the address."),
    ("database .* does not exist", "Make the database first: createdb, or correct its name in the address."),
    ("access denied for user .* to database", _RIGHTS),
    ("permission denied|command denied|must be owner", _RIGHTS),
    ("authentication failed|access denied|no password|role .* does not exist|no pg_hba.conf", _WHO),
    ("can't connect|connection refused|timeout expired|timed out|resolve host|unreachable|no route", _NOBODY),
)
_SUCH_AS = "It is such as postgresql://USER@HOST/DATABASE or mysql://USER@HOST/DATABASE."
_KINDS = ("postgresql", "mysql", "mariadb")
_OLD_KINDS = {"postgres": "postgresql"}


class CorruptStudyError(Exception):
    """The database answers, but with what this program and Optuna never wrote; the message says what."""


@contextlib.contextmanager
def storage_errors(study_dir: StudyDirectory, storage: str | None) -> Iterator[None]:
    """Whatever the database raises inside becomes a StorageError.

    `storage` is the database's address, None for SQLite in the study directory.

    Raises:
        StorageError: it says where, why, and what to do.
    """
    try:
        yield
    except (StorageInternalError, SQLAlchemyError, sqlite3.Error) as error:
        if storage is None and not study_dir.database.exists():
            raise StorageError(
                f"the study's database is gone: {driver_message(error)}",
                where=str(study_dir.database),
                fix="Someone removed it, or its disk. Bring it back from a copy, or start the study anew.",
            ) from error
        raise storage_error(error, study_dir, storage) from error


@contextlib.contextmanager
def reading_errors(study_dir: StudyDirectory, storage: str | None) -> Iterator[None]:
    """As `storage_errors`, and for an CorruptStudyError.

    Raises:
        StorageError: as above.
    """
    try:
        with storage_errors(study_dir, storage):
            yield
    except CorruptStudyError as error:
        raise StorageError(
            f"the study holds what sasrecf-tune did not write: {error}",
            where=display_url(study_dir, storage),
            fix=_RESTORE,
        ) from error


def storage_error(error: BaseException, study_dir: StudyDirectory, storage: str | None) -> StorageError:
    """What the database said, for people."""
    reason, where = driver_message(error), display_url(study_dir, storage)
    if storage is None:
        return _refused(reason, where)
    small = reason.lower()
    found = (remedy for sign, remedy in _SERVERS_REMEDIES if re.search(sign, small))
    fix = next(found, "Check the address and rights.")
    again = AGAIN if study_dir.manifest.exists() else "Then run the same command again."
    return StorageError(f"the study's database refuses: {reason}", where=where, fix=f"{fix} {again}")


def check_database(study_dir: StudyDirectory, storage: str | None) -> None:
    """Look at SQLite's file, or a server's address, before anything is built on it; nothing is changed.

    Raises:
        InputError: no database on a server has this address.
        StorageError: it is damaged, of something else, or gone although the study has begun.
    """
    if storage is not None:
        check_address(storage)
        return
    path = study_dir.database
    lost = not path.exists() or (path.is_file() and path.stat().st_size == 0)
    if lost and study_dir.manifest.exists():
        # A new database would begin the study anew, over the results that the other files still hold.
        if address := _elsewhere(study_dir):
            raise StorageError(
                f"this study is in another database: {address}",
                where=str(study_dir.directory),
                fix="Give that address with --storage, or in SASRECF_TUNE_STORAGE.",
            )
        raise StorageError(
            "the study has begun, but its database is " + ("empty" if path.exists() else "not there"),
            where=str(path),
            fix=f"Restore it from a copy, give --storage if the study was kept elsewhere, or {ANOTHER_STUDY}",
        )
    check_sqlite(path)


def _elsewhere(study_dir: StudyDirectory) -> str:
    """The address at which the study was last, without a password; "" for its own directory."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return str(json.loads(study_dir.manifest.read_text(encoding="utf-8")).get("storage") or "")
    return ""


def check_address(address: str) -> None:
    """Check that it is a server's database that is meant.

    Raises:
        InputError: it is something else, or lacks the password.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    if is_masked(address):
        raise InputError(
            "the password of the study's database is not kept with the study",
            where=address,
            fix="Give the address again: --storage URL, or the environment variable SASRECF_TUNE_STORAGE.",
        )
    try:
        url = make_url(address)
    except (ArgumentError, ValueError) as error:  # the latter where the port is no number
        reason = "not the address of a database"
        if isinstance(error, ValueError):
            reason += ": what stands after the host's colon is no port"
        raise InputError(reason, where="--storage", fix=_SUCH_AS) from error
    if "@" in (url.host or ""):
        raise InputError(
            "a user or password with an @ in the address of the database",
            where="--storage",
            fix="Write %40 for each @ of theirs, and %2F for each /.",
        )
    kind = url.get_backend_name()
    if kind == "sqlite":
        raise InputError(
            "SQLite is no server; a study is kept in SQLite where there is no --storage",
            where="--storage",
            fix="Leave it out, and SASRECF_TUNE_STORAGE too: the database is then OUT/STUDY/study.db.",
        )
    if kind in _OLD_KINDS:
        raise InputError(
            f"{kind}:// is an old way to write {_OLD_KINDS[kind]}://, which is not understood any more",
            where="--storage",
            fix=f"Write {_OLD_KINDS[kind]}:// in its place; the rest of the address stays.",
        )
    if kind not in _KINDS:
        raise InputError(
            f"no study is kept in a database of the kind {kind}://", where="--storage", fix=_SUCH_AS
        )
    if kind != "postgresql" and not url.database:  # PostgreSQL's has the user's name where none is given
        raise InputError("the address names no database", where="--storage", fix=_SUCH_AS)


def check_sqlite(path: Path) -> None:
    """Read all of an SQLite database, which takes about a second for a gigabyte.

    Raises:
        StorageError: it is damaged, or not of an Optuna study, or cannot be read now.
    """
    if not path.exists():
        return
    if not path.is_file():
        raise StorageError("not a file", where=str(path), fix=f"Move it away, or {ANOTHER_STUDY}")
    try:
        # Not read-only: what a run that was killed left half written is rolled back when it is opened.
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as connection:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    except sqlite3.OperationalError as error:  # locked, or it cannot be opened: nothing is known of damage
        raise _refused(str(error), str(path)) from error
    except sqlite3.Error as error:
        verdict, tables = str(error), set()
    if verdict != "ok":
        raise StorageError(
            f"a damaged database, or none: {verdict.split(chr(10))[-1]}", where=str(path), fix=_RESTORE
        )
    if tables and "studies" not in tables:
        raise StorageError(
            "a database, but not of an Optuna study",
            where=str(path),
            fix=f"Move it away, or {ANOTHER_STUDY}",
        )


def check_begun(study_dir: StudyDirectory, storage: BaseStorage, address: str | None) -> None:
    """Look for the study in its database, once it has begun; `address` is the database's.

    Raises:
        StorageError: it is not there. To begin it anew would replace the results that its files still hold.
    """
    if not study_dir.manifest.exists():
        return
    try:
        storage.get_study_id_from_name(study_dir.optuna_name)
    except KeyError as error:
        raise StorageError(
            f"the study has begun, but its database holds no study {study_dir.optuna_name!r}",
            where=display_url(study_dir, address),
            fix="Give the directory its old name again if it was renamed, restore the database from a copy "
            f"if the study was deleted, give --storage if it was kept elsewhere, or {ANOTHER_STUDY}",
        ) from error


def display_url(study_dir: StudyDirectory, storage: str | None) -> str:
    """The database for people; an address is shown without its password."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    if storage is None:
        return str(study_dir.database)
    try:
        return mask_passwords(make_url(storage).render_as_string(hide_password=True))
    except (ArgumentError, ValueError):
        return "--storage"


def _refused(reason: str, where: str) -> StorageError:
    fix = next(
        (remedy for sign, remedy in _REMEDIES if sign in reason), f"Check the address and rights. {AGAIN}"
    )
    return StorageError(f"the study's database refuses: {reason}", where=where, fix=fix)


def driver_message(error: BaseException) -> str:
    """What the database itself said, in one line."""
    # Optuna hides SQLAlchemy's error behind its own, and that the driver's.
    while not isinstance(error, SQLAlchemyError) and error.__cause__ is not None:
        error = error.__cause__
    original = getattr(error, "orig", None) or error
    # MySQL's drivers put a number before what they say.
    words = original.args[1] if len(original.args) == 2 and isinstance(original.args[0], int) else original
    return " ".join(str(words or original).split())[:300]
