"""The database that a study is kept in: where it is, and how it is made."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from optuna.storages import RDBStorage

from sasrecf_tune.errors import StorageError
from sasrecf_tune.storage.database.errors import check_address, check_sqlite, display_url, storage_error
from sasrecf_tune.storage.database.server import how_to_get_driver, open_server, reach
from sasrecf_tune.storage.directory import StudyDirectory


def open_storage(study_dir: StudyDirectory, storage: str | None) -> RDBStorage:
    """Connect to the database, creating tables where there are none.

    Raises:
        InputError: its address lacks the password, or is none of a server.
        StorageError: it is no database of Optuna's, or cannot be reached or written; or another run has been
            making its tables for minutes.
    """
    if storage is not None:
        check_address(storage)
    else:
        check_sqlite(study_dir.database)
    with _explained(study_dir, storage):
        if storage is not None:
            return open_server(storage)
        if not study_dir.database.exists():
            _create_sqlite(study_dir.database)
        return _sqlite(study_dir.database)


def reach_storage(study_dir: StudyDirectory, storage: str) -> None:
    """Connect to a server's database once, for what would else be found when the data is prepared.

    Raises:
        InputError: as `open_storage`.
        StorageError: it cannot be reached.
    """
    check_address(storage)
    with _explained(study_dir, storage):
        reach(storage)


@contextlib.contextmanager
def _explained(study_dir: StudyDirectory, storage: str | None) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise StorageError(
            f"the database driver is not installed: {error}",
            where=display_url(study_dir, storage),
            fix=how_to_get_driver(str(storage)),
        ) from error
    except StorageError:
        raise
    except Exception as error:  # SQLAlchemy and drivers raise each their own
        raise storage_error(error, study_dir, storage) from error


def _create_sqlite(path: Path) -> None:
    # Under another name first: Optuna never makes an index that a full disk or a kill left unmade, and
    # without one of them it would begin a second study of the same name.
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        _sqlite(temporary).engine.dispose()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _sqlite(path: Path) -> RDBStorage:
    # The path is not put into the address, where SQLAlchemy and Optuna would read ?, % and braces in it.
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path, check_same_thread=False)

    return RDBStorage(f"sqlite:///{path.name}", engine_kwargs={"creator": connect})
