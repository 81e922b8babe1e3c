"""Changes to a study while no run works on it: deletes it, or puts its failed trials back in the queue."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from optuna.storages import RDBStorage
from sqlalchemy.orm import Session

from sasrecf_tune.errors import StorageError
from sasrecf_tune.storage.database.errors import display_url, reading_errors
from sasrecf_tune.storage.database.heartbeats import SILENT_SECONDS, living_peers
from sasrecf_tune.storage.database.open import open_storage
from sasrecf_tune.storage.database.optuna_internals import lock_study, requeue_failed
from sasrecf_tune.storage.database.study_name import study_id
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.files import remove


def delete_study(study_dir: StudyDirectory, address: str | None) -> None:
    """Delete a study and its confirmation: what the database holds, then the files that were made from it.

    The caller has locked the directory. Files of runs that are at work now, such as their logs, and files
    that sasrecf-tune has not written stay.

    Args:
        address: of the database on a server, None for SQLite in the directory.

    Raises:
        StorageError: other runs work on the study, or the database cannot be changed.
    """
    if address is not None:
        with reading_errors(study_dir, address):
            storage = open_storage(study_dir, address)
            try:
                found = _ids(storage, study_dir)
                for one in found:
                    with _without_runs(storage, one, study_dir, address):
                        pass
                for one in found:
                    storage.delete_study(one)
            finally:
                storage.engine.dispose()
    # The manifest last: a study that was deleted in part is still one, which can be deleted.
    remove([*study_dir.results(), study_dir.manifest])


def check_idle(study_dir: StudyDirectory, address: str) -> None:
    """Check that no run works on a study on a server, or on its confirmation.

    Raises:
        StorageError: one does, or the database cannot be read.
    """
    with reading_errors(study_dir, address):
        storage = open_storage(study_dir, address)
        try:
            for one in _ids(storage, study_dir):
                with _without_runs(storage, one, study_dir, address):
                    pass
        finally:
            storage.engine.dispose()


def count_ended(study_dir: StudyDirectory, address: str) -> int | None:
    """Count the trials that have ended of a study on a server; None if it does not exist.

    Raises:
        StorageError: the database cannot be read.
    """
    with reading_errors(study_dir, address):
        storage = open_storage(study_dir, address)
        try:
            study = study_id(storage, study_dir)
            if study is None:
                return None
            return sum(trial.state.is_finished() for trial in storage.get_all_trials(study, deepcopy=False))
        finally:
            storage.engine.dispose()


def retry_failed(study_dir: StudyDirectory, storage: RDBStorage, address: str | None) -> int:
    """Put the failed trials back in the queue, with their numbers, parameters and seeds.

    Returns:
        How many there are.

    Raises:
        StorageError: other runs work on the study, or the database cannot be changed.
    """
    with reading_errors(study_dir, address):
        study = study_id(storage, study_dir)
        if study is None:
            return 0
        with _without_runs(storage, study, study_dir, address) as session:
            return requeue_failed(session, study)


def _ids(storage: RDBStorage, study_dir: StudyDirectory) -> list[int]:
    """The database's ids of a study and its confirmation, as far as they exist."""
    found = [study_id(storage, one) for one in (study_dir, study_dir.confirmation)]
    return [one for one in found if one is not None]


@contextlib.contextmanager
def _without_runs(
    storage: RDBStorage, study: int, study_dir: StudyDirectory, address: str | None
) -> Iterator[Session]:
    """Yield a transaction that locks the study with the database's id `study`, unless runs work on it."""
    with Session(storage.engine) as session, session.begin():
        lock_study(session, study)
        if address is not None and (peers := living_peers(session, study)):
            raise StorageError(
                f"other runs work on this study: {', '.join(peers)}",
                where=display_url(study_dir, address),
                fix="Wait for them, or stop them. One that was killed on another machine counts as ended "
                f"after {SILENT_SECONDS:.0f} seconds.",
            )
        yield session
