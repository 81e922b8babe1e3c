"""Which study of a database is that of a study directory."""

from __future__ import annotations

import contextlib

from optuna.storages import BaseStorage, RDBStorage

from sasrecf_tune.errors import StorageError
from sasrecf_tune.storage.database.cached_storage import corruption_errors
from sasrecf_tune.storage.database.errors import display_url, reading_errors
from sasrecf_tune.storage.directory import ANOTHER_STUDY, StudyDirectory

# User attribute of a study: what it was made from. Only studies of this program have it.
IDENTITY = "sasrecf_tune:identity"
# Ends the name of a confirmation, which is a study beside its own; the space is in no other name.
_CONFIRMATION = " confirmation"
_MOST_NAMED = 10


def recorded_name(storage: BaseStorage, study_dir: StudyDirectory) -> str:
    """The name in `storage` of the study in `study_dir`, or of its confirmation.

    It is the directory's, unless the directory has its own database (SQLite) and was renamed or copied: the
    only study there is then the directory's, whatever it is called.

    Raises:
        StorageError: Several studies are there, and none has the directory's name.
        CorruptStudyError: They cannot be read.
    """
    name = _name_of_search(storage, study_dir)
    return name if study_dir.trial == "trial" else name + _CONFIRMATION


def study_id(storage: BaseStorage, study_dir: StudyDirectory) -> int | None:
    """The database's id of the study in `study_dir`, or of its confirmation; None if it does not exist.

    Raises:
        StorageError, CorruptStudyError: As `recorded_name`.
    """
    with contextlib.suppress(KeyError):
        return storage.get_study_id_from_name(recorded_name(storage, study_dir))
    return None


def check_begun(study_dir: StudyDirectory, storage: BaseStorage, address: str | None) -> None:
    """Check that the database has the study, if it was started; `address` is the database's.

    Raises:
        StorageError: it has not. To start it again would replace the results in its files.
    """
    with reading_errors(study_dir, address):
        if study_id(storage, study_dir) is not None or not study_dir.manifest.exists():
            return
    renamed = "if the directory was renamed, give it its old name; " if address else ""
    raise StorageError(
        f"the study was started, but its database has no study {study_dir.name!r}",
        where=display_url(study_dir, address),
        fix=f"If the study was deleted, restore the database from a copy; {renamed}"
        f"if the study is in another database, give --storage; or {ANOTHER_STUDY}",
    )


def renamed_note(storage: BaseStorage, study_dir: StudyDirectory) -> str:
    """A note if the study has another name in its database than its directory; else "".

    Raises:
        StorageError, CorruptStudyError: As `recorded_name`.
    """
    name = _name_of_search(storage, study_dir)
    if name == study_dir.name:
        return ""
    return f"this directory was renamed or copied: in {study_dir.database.name} the study is called {name}"


def study_names(storage: BaseStorage) -> list[str]:
    """The names of the studies in a database, without the confirmations of other studies.

    Raises:
        CorruptStudyError: They cannot be read.
    """
    names = list(_studies(storage))
    return [n for n in names if not (n.endswith(_CONFIRMATION) and n.removesuffix(_CONFIRMATION) in names)]


def _name_of_search(storage: BaseStorage, study_dir: StudyDirectory) -> str:
    if not isinstance(storage, RDBStorage) or storage.engine.dialect.name != "sqlite":
        return study_dir.name  # the database has the studies of other directories, too
    own = [n for n, made_here in _studies(storage).items() if made_here and not n.endswith(_CONFIRMATION)]
    if study_dir.name in own or not own:
        return study_dir.name
    if len(own) > 1:
        raise StorageError(
            f"the database has several studies, and none is called {study_dir.name}",
            where=str(study_dir.database),
            fix=f"Give the directory the name of the one that is meant: {', '.join(own[:_MOST_NAMED])}.",
        )
    return own[0]


def _studies(storage: BaseStorage) -> dict[str, bool]:
    """Whether this program made it, by the name of each study."""
    with corruption_errors():
        return {study.study_name: IDENTITY in study.user_attrs for study in storage.get_all_studies()}
