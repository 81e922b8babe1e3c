"""Opens Optuna databases that earlier work is read from: nothing is created or changed in them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from sasrecf_tune.errors import InputError, StorageError
from sasrecf_tune.storage.database.address import check_address
from sasrecf_tune.storage.database.cached_storage import WriteThroughStorage
from sasrecf_tune.storage.database.errors import CorruptStudyError, check_sqlite, driver_message
from sasrecf_tune.storage.database.server import missing_driver, open_server_to_read
from sasrecf_tune.storage.database.sqlite_file import connect
from sasrecf_tune.storage.url_masking import mask_address, mask_message

_FIX = "Give a database that Optuna has written."
_EXAMPLES = "Give an SQLite file, or an address such as postgresql://USER@HOST/DATABASE."


@contextlib.contextmanager
def open_to_read(place: str) -> Iterator[RDBStorage]:
    """Open the database at an address or in an SQLite file.

    Raises:
        InputError: It is none of Optuna's, or cannot be read, now or in the block.
    """
    where, fix = place, _FIX
    if "://" in place:
        where, fix = mask_address(place), f"Check the address and rights. {_FIX}"
    try:
        storage = _open(place)
        try:
            yield storage
        finally:
            storage.engine.dispose()
    except (ImportError, NoSuchModuleError) as error:
        raise missing_driver(place, where) from error
    except StorageError as error:
        raise InputError(error.what, where=error.where or where, fix=_FIX) from error
    except CorruptStudyError as error:
        raise InputError(f"unexpected content in the database: {error}", where=where, fix=_FIX) from error
    except (StorageInternalError, SQLAlchemyError) as error:
        reason = mask_message(driver_message(error), place)
        raise InputError(f"cannot read the database: {reason}", where=where, fix=fix) from error
    except (RuntimeError, AssertionError) as error:  # Optuna's check of the version of its tables
        raise InputError(
            "its tables are those of another version of Optuna",
            where=where,
            fix="Upgrade a copy of it: optuna storage upgrade --storage URL",
        ) from error


def _open(place: str) -> RDBStorage:
    if "://" in place:
        try:
            check_address(place)
        except InputError as error:  # in the words of another option
            raise InputError(error.what, where=mask_address(place), fix=_EXAMPLES) from None
        return open_server_to_read(place)
    path = Path(place)
    check_sqlite(path)
    if not path.stat().st_size:  # which a study that has just begun may have
        raise InputError("the database is empty", where=place, fix=_FIX)
    # The path is not part of the address, where SQLAlchemy and Optuna would interpret ?, % and braces.
    arguments = {"creator": lambda: connect(path)}
    return RDBStorage("sqlite:///earlier.db", engine_kwargs=arguments, skip_table_creation=True)


def read_study(storage: RDBStorage, name: str) -> WriteThroughStorage:
    """All of a study, in memory.

    Raises:
        CorruptStudyError: It cannot be read.
    """
    return WriteThroughStorage(storage, name)
