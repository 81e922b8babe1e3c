"""The database that a study is kept in: where it is, and whether it can be used."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from optuna.storages import RDBStorage

from sasrecf_tune.errors import InputError, StorageError
from sasrecf_tune.layout import Layout


def storage_url(layout: Layout, storage: str | None) -> str:
    """The database's URL: `storage`, or SQLite in the study directory."""
    return storage or f"sqlite:///{layout.database}"


def open_storage(layout: Layout, storage: str | None) -> RDBStorage:
    """Connect to the database, creating tables where there are none.

    Raises:
        InputError: its address lacks the password.
        StorageError: it is no database of Optuna's, or cannot be reached or written.
    """
    if storage is not None and ":***@" in storage:
        raise InputError(
            "the password of the study's database is not kept with the study",
            where=storage,
            fix="Give the address again: --storage URL, or the environment variable SASRECF_TUNE_STORAGE.",
        )
    url = storage_url(layout, storage)
    if storage is None:
        _check_sqlite(layout.database)
    try:
        opened = RDBStorage(url)
        _create_indexes(opened)
        return opened
    except ImportError as error:
        raise StorageError(
            f"the database driver is not installed: {error}",
            where=without_password(url),
            fix='pip install "sasrecf-tune[postgresql]" or "sasrecf-tune[mysql]"',
        ) from error
    except Exception as error:  # SQLAlchemy and drivers raise each their own
        reason = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
        raise StorageError(
            f"cannot open the study's database: {reason}",
            where=without_password(url),
            fix="Check the address and rights; a damaged study.db can be restored from a copy only.",
        ) from error


def _create_indexes(storage: RDBStorage) -> None:
    """Create the indexes that are missing.

    Optuna creates a table, then its indexes, and later looks for missing tables only. Where a kill came
    between, nothing would keep it from making a second study of the same name, and then it finds neither.
    """
    from optuna.storages._rdb.models import BaseModel

    for table in BaseModel.metadata.tables.values():
        for index in table.indexes:
            index.create(storage.engine, checkfirst=True)


def _check_sqlite(path: Path) -> None:
    if not path.exists():
        return
    try:
        # Writable, since a run that was killed in the middle of a commit left it to the next to open the
        # database to take that back; but not to be created.
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as connection:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    except sqlite3.DatabaseError as error:
        raise StorageError(
            f"not a readable SQLite database: {error}",
            where=str(path),
            fix="Nothing was changed. Restore it from a copy, or choose another --study.",
        ) from error
    if tables and "studies" not in tables:
        raise StorageError(
            "a database, but not of an Optuna study", where=str(path), fix="Choose another --study."
        )


def without_password(url: str) -> str:
    """`url` as it may be shown or written to a file; "--storage" where it is no URL."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "--storage"
