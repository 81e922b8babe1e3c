"""Which study of a database is that of a study directory."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from optuna.storages import BaseStorage, RDBStorage

from sasrecf_tune.errors import StorageError, StudyMismatchError
from sasrecf_tune.storage.database.cached_storage import corruption_errors
from sasrecf_tune.storage.database.errors import CorruptStudyError, display_url, reading_errors
from sasrecf_tune.storage.directory import ANOTHER_STUDY, StudyDirectory
from sasrecf_tune.storage.manifest import read_manifest

# User attribute of a study: what it was made from. Only studies of this program have it.
IDENTITY = "sasrecf_tune:identity"
# Ends the name of a confirmation, which is a study beside its own; the space is in no other name.
_CONFIRMATION = " confirmation"
_MOST_NAMED = 10
# What every version records alike, beside the space; `config` was once recorded as it was written.
_COMPARED = ("model", "dataset", "data", "metric", "seed", "engine")
_LONGEST_SHOWN = 80


def recorded_name(storage: BaseStorage, study_dir: StudyDirectory) -> str:
    """The name in `storage` of the study in `study_dir`, or of its confirmation.

    It is the directory's, unless the directory has its own database (SQLite) and was renamed or copied: the
    only study there is then the directory's, whatever it is called.

    Raises:
        StorageError: Several studies are there, and none has the directory's name.
        StudyMismatchError: The directory's own database is of another search than its manifest.
        CorruptStudyError: They cannot be read.
    """
    name = _name_of_search(storage, study_dir)
    return name if study_dir.trial == "trial" else name + _CONFIRMATION


def study_id(storage: BaseStorage, study_dir: StudyDirectory) -> int | None:
    """The database's id of the study in `study_dir`, or of its confirmation; None if it does not exist.

    Raises:
        StorageError, StudyMismatchError, CorruptStudyError: As `recorded_name`.
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
        StorageError, StudyMismatchError, CorruptStudyError: As `recorded_name`.
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
    studies = _studies(storage)
    own = [n for n, attributes in studies.items() if IDENTITY in attributes and not n.endswith(_CONFIRMATION)]
    if not own:
        return study_dir.name
    name = study_dir.name if study_dir.name in own else own[0]
    if name != study_dir.name and len(own) > 1:
        raise StorageError(
            f"the database has several studies, and none is called {study_dir.name}",
            where=str(study_dir.database),
            fix=f"Give the directory the name of the one that is meant: {', '.join(own[:_MOST_NAMED])}.",
        )
    _check_search(study_dir, name, studies[name][IDENTITY])
    return name


def _check_search(study_dir: StudyDirectory, name: str, identity: object) -> None:
    """Check that the study `name` of the directory's own database is the one of its manifest.

    Raises:
        StudyMismatchError: It is of another search.
    """
    if not isinstance(identity, dict) or not study_dir.manifest.is_file():
        return
    expected = read_manifest(study_dir).get("identity", {})
    there, here = _comparable(identity), _comparable(expected)
    keys = there.keys() & here.keys()
    if all(isinstance(known.get("space"), dict) for known in (identity, expected)):
        keys |= {key for key in (*there, *here) if key not in _COMPARED}  # parameters that only one has
    database, manifest = study_dir.database.name, study_dir.manifest.name
    differences = [
        f"  {key}: {_shown(there, key)} in {database}, {_shown(here, key)} in {manifest}"
        for key in dict.fromkeys([*there, *here])
        if key in keys and there.get(key) != here.get(key)
    ]
    if differences:
        raise StudyMismatchError(
            "\n".join([f"{database} is of another search, {name}, than {manifest}:", *differences]),
            where=str(study_dir.directory),
            fix=f"Restore both files from one copy of the study, or {ANOTHER_STUDY}",
        )


def _comparable(identity: Mapping[str, Any]) -> dict[str, str | int]:
    """What can be compared of an identity; each parameter of the space has a key of its own."""
    known = {key: identity.get(key) for key in _COMPARED}
    if isinstance(space := identity.get("space"), dict):
        known |= {f"space.{name}": text for name, text in space.items()}
    return {key: value for key, value in known.items() if isinstance(value, str | int)}


def _shown(known: Mapping[str, str | int], key: str) -> str:
    return repr(known[key])[:_LONGEST_SHOWN] if key in known else "not set"


def _studies(storage: BaseStorage) -> dict[str, dict[str, Any]]:
    """The user attributes of each study, by its name."""
    with corruption_errors():
        studies = storage.get_all_studies()
    found: dict[str, dict[str, Any]] = {}
    for study in studies:
        if not isinstance(study.study_name, str):  # SQLite keeps any type in any column
            raise CorruptStudyError("the name of a study is not text")
        found[study.study_name] = study.user_attrs
    return found
