"""Study directories that were renamed or copied, and what their databases hold."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from typer.testing import CliRunner

import sasrecf_tune as st
from sasrecf_tune.cli.app import app
from sasrecf_tune.errors import InputError, StorageError, StudyMismatchError, StudyNotFoundError
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.settings import EarlierOptions
from sasrecf_tune.search.earlier.sources import read_sources
from sasrecf_tune.search.open_study import load_study, open_study
from sasrecf_tune.storage.database.maintenance import delete_study, retry_failed
from sasrecf_tune.storage.database.open import open_storage
from sasrecf_tune.storage.database.study_name import check_begun, recorded_name
from sasrecf_tune.storage.directory import StudyDirectory
from tests.support.command_line import run_here
from tests.support.known_studies import NAME, SPACE, manifest, plant, settings
from tests.support.peer import Peer

TRIALS = 20  # one of them has failed
IDENTITY = {"metric": "MRR@10"}
# As a run records it.
FULL = {
    "model": "SASRecF",
    "dataset": "ml-100k",
    "data": "20305a2dcf705567",
    "metric": "MRR@10",
    "seed": 2020,
    "engine": "fast",
    "space": {"n_layers": "n_layers choice [1, 2]", "hidden_size": "hidden_size choice [32, 64]"},
    "config": {"user_inter_num_interval": "[20,23]"},
}
NOTE = f"in study.db the study is called {NAME}\n"


@pytest.fixture
def renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyDirectory:
    """A study that was renamed after its search."""
    monkeypatch.chdir(tmp_path)
    return StudyDirectory(plant(tmp_path / "tuning", TRIALS).directory.rename(tmp_path / "tuning/january"))


def record_identity(study_dir: StudyDirectory, in_database: dict[str, Any], in_manifest: Any) -> None:
    content = json.loads(study_dir.manifest.read_text())
    study_dir.manifest.write_text(json.dumps(content | {"identity": in_manifest}))
    with closing(sqlite3.connect(study_dir.database)) as connection, connection:
        connection.execute(
            "UPDATE study_user_attributes SET value_json = ? WHERE key = ?",
            (json.dumps(in_database), "sasrecf_tune:identity"),
        )


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


@pytest.mark.parametrize(
    ("name", "other", "shown"),
    [
        (NAME, {"metric": "NDCG@10"}, ["metric: 'NDCG@10' in study.db, 'MRR@10' in manifest.json"]),
        (
            "january",
            {"data": "ffff", "seed": 7},
            ["data: 'ffff' in study.db, '20305a2dcf705567' in", "seed: 7 in study.db, 2020 in"],
        ),
        (
            "january",
            {"space": {"n_layers": "n_layers choice [1]", "n_heads": "n_heads choice [1]"}},
            [
                "space.n_layers: 'n_layers choice [1]' in study.db, 'n_layers choice [1, 2]' in",
                "space.n_heads: 'n_heads choice [1]' in study.db, not set in",
                "space.hidden_size: not set in study.db, 'hidden_size choice",
            ],
        ),
    ],
)
def test_the_database_of_another_search_is_refused(
    renamed: StudyDirectory, name: str, other: dict[str, Any], shown: list[str]
) -> None:
    study_dir = StudyDirectory(renamed.directory.rename(f"tuning/{name}"))
    record_identity(study_dir, FULL | other, FULL)
    for words in (["report", name], ["best", name]):
        result = run_here(*words, cwd=Path())
        assert result.returncode == 2 and not result.stdout
        told = " ".join(result.stderr.split())
        assert f"study.db is of another search, {NAME}, than manifest.json" in told
        assert "Restore both files from one copy of the study" in told
        assert all(line in told for line in shown)
    storage = open_storage(study_dir, None)
    for read in (check_begun, retry_failed):
        with pytest.raises(StudyMismatchError, match="another search"):
            read(study_dir, storage, None)
    with pytest.raises(StudyMismatchError, match="another search"):
        _ = st.load_study(name).trials


def test_only_what_manifest_and_database_both_record_is_compared(renamed: StudyDirectory) -> None:
    storage = open_storage(renamed, None)
    for other in (
        FULL,
        FULL | {"config": {"user_inter_num_interval": [20, 23]}},  # of an earlier version
        {"metric": "MRR@10"},
        {"space": 3, "metric": ["MRR@10"]},
    ):
        for in_database, in_manifest in ((FULL, other), (other, FULL)):
            record_identity(renamed, in_database, in_manifest)
            assert recorded_name(storage, renamed) == NAME
    renamed.manifest.unlink()
    assert recorded_name(storage, renamed) == NAME


@pytest.mark.parametrize(("word", "beside"), [("report", False), ("best", True)])
def test_a_study_whose_name_is_not_text_is_unexpected_content(
    renamed: StudyDirectory, word: str, beside: bool
) -> None:
    if beside:
        optuna.create_study(study_name="mine", storage=open_storage(renamed, None))
    with closing(sqlite3.connect(renamed.database)) as connection, connection:
        connection.execute(
            "UPDATE studies SET study_name = x'fffe' WHERE study_name = ?", ("mine" if beside else NAME,)
        )
    result = run_here(word, "january", cwd=Path())
    assert result.returncode == 1
    assert "unexpected content in the study database: the name of a study is not text" in " ".join(
        result.stderr.split()
    )


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
        copy.manifest.write_text(
            json.dumps(manifest(parse(SPACE), tmp_path, TRIALS) | {"format": 1, "storage": url})
        )
        with pytest.raises(StorageError, match=f"no study '{name}'") as caught:
            check_begun(copy, storage, url)
        assert "give it its old name" in caught.value.fix
        with pytest.raises(StudyNotFoundError):
            load_study(copy, storage, parse(SPACE))
        prior = replace(settings(tmp_path), storage=url, earlier_work=EarlierOptions([name]))
        with pytest.raises(InputError, match=f"no study '{name}'") as refused:
            read_sources(prior)
        assert "give it its old name" in refused.value.fix
        delete_study(copy, url)
    assert names(storage) == before
