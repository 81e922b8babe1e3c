"""Opens the database of a study, and creates it where there is none."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from optuna.storages import RDBStorage
from sqlalchemy.exc import NoSuchModuleError

from sasrecf_tune.errors import StorageError
from sasrecf_tune.storage.database.address import check_address
from sasrecf_tune.storage.database.errors import check_study_file, display_url, storage_error
from sasrecf_tune.storage.database.server import check_connection, missing_driver, open_server
from sasrecf_tune.storage.database.sqlite_file import connect
from sasrecf_tune.storage.directory import StudyDirectory

# It reports errors of the database as warnings before it raises them.
logging.getLogger("optuna.storages._rdb.storage").setLevel(logging.ERROR)


def open_storage(study_dir: StudyDirectory, storage: str | None) -> RDBStorage:
    """Connect to the database, creating tables where there are none.

    Raises:
        InputError: the address is not that of a supported server, or lacks the password, or its driver is
            not installed.
        StorageError: it is not a database of Optuna, or cannot be reached or written; or another run has been
            creating its tables for minutes.
    """
    if storage is not None:
        check_address(storage)
    else:
        check_study_file(study_dir)
    with _storage_errors(study_dir, storage):
        if storage is not None:
            return open_server(storage)
        if not study_dir.database.exists():
            _create_sqlite(study_dir.database)
        return _sqlite(study_dir.database)


def check_storage(study_dir: StudyDirectory, storage: str) -> None:
    """Connect to a server's database once, to find errors before data is prepared.

    Raises:
        InputError: as in `open_storage`.
        StorageError: it cannot be reached.
    """
    check_address(storage)
    with _storage_errors(study_dir, storage):
        check_connection(storage)


@contextlib.contextmanager
def _storage_errors(study_dir: StudyDirectory, storage: str | None) -> Iterator[None]:
    try:
        yield
    except (ImportError, NoSuchModuleError) as error:
        raise missing_driver(str(storage), display_url(study_dir, storage)) from error
    except StorageError:
        raise
    except Exception as error:  # of SQLAlchemy or of a driver
        raise storage_error(error, study_dir, storage) from error


def _create_sqlite(path: Path) -> None:
    # Under another name first: Optuna never creates an index that is missing after a full disk or a kill, and
    # without one of them it would create a second study of the same name.
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        _sqlite(temporary).engine.dispose()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _sqlite(path: Path) -> RDBStorage:
    # The path is not part of the address, where SQLAlchemy and Optuna would interpret ?, % and braces.
    return RDBStorage(f"sqlite:///{path.name}", engine_kwargs={"creator": lambda: connect(path)})
