"""The database that a study is kept in: where it is, and how it is made."""

from __future__ import annotations

from pathlib import Path

from optuna.storages import RDBStorage

from sasrecf_tune.damage import check_sqlite, shown, storage_error
from sasrecf_tune.errors import InputError, StorageError
from sasrecf_tune.layout import Layout


def storage_url(layout: Layout, storage: str | None) -> str:
    """The database's URL: `storage`, or SQLite in the study directory."""
    return storage or _sqlite_url(layout.database)


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
        check_sqlite(layout.database)
    try:
        if storage is None and not layout.database.exists():
            _create_sqlite(layout.database)
        return RDBStorage(url)
    except ImportError as error:
        raise StorageError(
            f"the database driver is not installed: {error}",
            where=shown(layout, storage),
            fix='pip install "sasrecf-tune[postgresql]" or "sasrecf-tune[mysql]"',
        ) from error
    except Exception as error:  # SQLAlchemy and drivers raise each their own
        raise storage_error(error, layout, storage) from error


def _create_sqlite(path: Path) -> None:
    # Under another name first: Optuna never makes an index that a full disk or a kill left unmade, and
    # without one of them it would begin a second study of the same name.
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        RDBStorage(_sqlite_url(temporary)).engine.dispose()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _sqlite_url(path: Path) -> str:
    # As a file's URI, in which ?, % and braces, which SQLAlchemy and Optuna would read, stand for themselves.
    return f"sqlite:///{path.as_uri()}?uri=true"
