"""Study directories that were renamed or copied, and what their databases hold."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from typer.testing import CliRunner

import sasrecf_tune as st
from sasrecf_tune.cli.app import app
from sasrecf_tune.errors import StorageError, StudyNotFoundError
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.search.open_study import load_study, open_study
from sasrecf_tune.storage.database.maintenance import delete_study, retry_failed
from sasrecf_tune.storage.database.open import open_storage
from sasrecf_tune.storage.database.study_name import check_begun, recorded_name
from sasrecf_tune.storage.directory import StudyDirectory
from tests.support.known_studies import NAME, SPACE, manifest, plant
from tests.support.peer import Peer

TRIALS = 20  # one of them has failed
IDENTITY = {"metric": "MRR@10"}
NOTE = f"in study.db the study is called {NAME}\n"


@pytest.fixture
def renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyDirectory:
    """A study that was renamed after its search."""
    monkeypatch.chdir(tmp_path)
    return StudyDirectory(plant(tmp_path / "tuning", TRIALS).directory.rename(tmp_path / "tuning/january"))


def names(storage: RDBStorage) -> list[str]:
    return sorted(study.study_name for study in storage.get_all_studies())


@pytest.mark.parametrize("words", [["report"], ["report", "--format", "json"], ["best"]])
def test_a_renamed_or_copied_study_is_read(renamed: StudyDirectory, words: list[str]) -> None:
    shutil.copytree(renamed.directory, "elsewhere")
    shown = []
    for study in ("january", "elsewhere/"):
        result = CliRunner().invoke(app, [words[0], study, *words[1:]], catch_exceptions=False)
        assert result.exit_code == 0
        assert result.stderr.endswith(NOTE) == (words[0] == "report")
        shown.append(result.stdout)
    assert "january" in shown[0] and NAME not in shown[0]
    assert shown[1].count("elsewhere") == shown[0].count("january")


def test_a_study_whose_name_is_the_recorded_one_has_no_note(tmp_path: Path) -> None:
    plant(tmp_path, 3)
    assert not CliRunner().invoke(app, ["report", NAME, "--out", str(tmp_path)]).stderr


def test_a_renamed_study_is_read_from_python(renamed: StudyDirectory) -> None:
    study = st.load_study("january")
    assert study.name == "january" and len(study.trials) == TRIALS
    assert len(study.optuna_study().trials) == TRIALS


def test_a_renamed_study_and_its_confirmation_are_continued(renamed: StudyDirectory) -> None:
    storage = open_storage(renamed, None)
    check_begun(renamed, storage, None)
    assert len(open_study(renamed, storage, parse(SPACE), IDENTITY, True).records()) == TRIALS
    open_study(renamed.confirmation, storage, parse(SPACE), IDENTITY, True)
    again = StudyDirectory(renamed.directory.rename("tuning/february"))
    open_study(again.confirmation, open_storage(again, None), parse(SPACE), IDENTITY, True)
    assert names(open_storage(again, None)) == [NAME, f"{NAME} confirmation"]


def test_failed_trials_of_a_renamed_study_are_tried_again(renamed: StudyDirectory) -> None:
    assert retry_failed(renamed, open_storage(renamed, None), None) == 1


def test_studies_of_other_programs_are_not_taken_for_the_directorys(renamed: StudyDirectory) -> None:
    storage = open_storage(renamed, None)
    optuna.create_study(study_name="january", storage=storage)
    optuna.create_study(study_name="mine", storage=storage)
    assert recorded_name(storage, renamed) == NAME
    storage.delete_study(storage.get_study_id_from_name(NAME))
    with pytest.raises(StudyNotFoundError, match="no study 'other'"):
        load_study(StudyDirectory(renamed.directory.rename("tuning/other")), storage, parse(SPACE))


def test_of_several_studies_the_name_decides(renamed: StudyDirectory) -> None:
    storage = open_storage(renamed, None)
    open_study(StudyDirectory(renamed.directory.with_name(NAME)), storage, parse(SPACE), IDENTITY, True)
    second = storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "second")
    storage.set_study_user_attr(second, "sasrecf_tune:identity", IDENTITY)
    for read in (check_begun, lambda *_: load_study(renamed, storage, parse(SPACE))):
        with pytest.raises(StorageError, match="several studies") as caught:
            read(renamed, storage, None)
        assert f"{NAME}, second" in caught.value.fix
    assert recorded_name(storage, StudyDirectory(renamed.directory.with_name("second"))) == "second"


def test_a_directory_does_not_take_over_a_study_on_a_server(
    tmp_path: Path, url: str, join: Callable[..., Peer]
) -> None:
    peer = join()
    storage = peer.storage
    before = names(storage)
    assert len(before) == 1
    for name in ("renamed", "copy"):
        copy = StudyDirectory(tmp_path / name)
        copy.directory.mkdir()
        copy.manifest.write_text(json.dumps(manifest(parse(SPACE), tmp_path, TRIALS) | {"storage": url}))
        with pytest.raises(StorageError, match=f"no study '{name}'") as caught:
            check_begun(copy, storage, url)
        assert "give it its old name" in caught.value.fix
        with pytest.raises(StudyNotFoundError):
            load_study(copy, storage, parse(SPACE))
        delete_study(copy, url)
    assert names(storage) == before
