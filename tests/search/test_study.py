"""Opening a study: it is created once, and a different one is rejected."""

from __future__ import annotations

import contextlib
from pathlib import Path

import optuna
import pytest
from sqlalchemy import event

from sasrecf_tune.errors import StudyMismatchError, StudyNotFoundError
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.search.open_study import load_study, open_study
from sasrecf_tune.storage.database.open import open_storage
from sasrecf_tune.storage.directory import StudyDirectory

SPACE = parse("n_layers choice [1, 2]\n")
IDENTITY = {"metric": "MRR@10", "space": {"n_layers": "n_layers choice [1, 2]"}, "data": "abc"}


@pytest.fixture
def study_dir(tmp_path: Path) -> StudyDirectory:
    (tmp_path / "study").mkdir()
    return StudyDirectory(tmp_path / "study")


def test_a_study_with_other_settings_is_rejected_with_the_difference(study_dir: StudyDirectory) -> None:
    storage = open_storage(study_dir, None)
    open_study(study_dir, storage, SPACE, IDENTITY, True)
    open_study(study_dir, storage, SPACE, IDENTITY, True)
    with pytest.raises(StudyMismatchError, match="data: was 'abc', now 'xyz'"):
        open_study(study_dir, storage, SPACE, IDENTITY | {"data": "xyz"}, True)


def test_settings_without_effect_are_no_part_of_a_study(study_dir: StudyDirectory) -> None:
    storage = open_storage(study_dir, None)
    # An earlier version recorded them.
    recorded = IDENTITY | {
        "model": "SASRecF",
        "config": {"epochs": 3, "log_wandb": True, "foo": 1, "gpu_id": 0},
    }
    open_study(study_dir, storage, SPACE, recorded, True)
    open_study(study_dir, storage, SPACE, recorded | {"config": {"epochs": 3}}, True)
    with pytest.raises(StudyMismatchError) as caught:
        open_study(study_dir, storage, SPACE, recorded | {"config": {"epochs": 4}}, True)
    assert "config.epochs: was 3, now 4" in caught.value.what and "gpu_id" not in caught.value.what
    assert "begin anew with --fresh" in caught.value.fix


def test_a_setting_may_be_written_in_another_way_than_when_the_study_was_begun(
    study_dir: StudyDirectory,
) -> None:
    storage = open_storage(study_dir, None)
    # An earlier version recorded values as they were written.
    written = {"topk": 5, "metrics": "NDCG", "user_inter_num_interval": [5, 10]}
    read = {"topk": [5], "metrics": ["NDCG"], "user_inter_num_interval": "[5, 10]"}
    recorded = IDENTITY | {"model": "SASRecF", "config": written}
    open_study(study_dir, storage, SPACE, recorded, True)
    open_study(study_dir, storage, SPACE, recorded | {"config": read}, True)
    with pytest.raises(StudyMismatchError, match=r"config\.topk"):
        open_study(study_dir, storage, SPACE, recorded | {"config": read | {"topk": [10]}}, True)


def test_a_study_whose_creation_was_interrupted_is_created_again(study_dir: StudyDirectory) -> None:
    open_storage(study_dir, None).engine.dispose()
    empty = study_dir.database.read_bytes()
    writes = killed_at = 0

    def kill(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        nonlocal writes
        writes += not statement.startswith("SELECT")
        if writes == killed_at:
            raise KeyboardInterrupt

    while writes >= killed_at:
        writes, killed_at = 0, killed_at + 1
        study_dir.database.write_bytes(empty)
        storage = open_storage(study_dir, None)
        event.listen(storage.engine, "before_cursor_execute", kill)
        with contextlib.suppress(KeyboardInterrupt):
            open_study(study_dir, storage, SPACE, IDENTITY, True)
        storage.engine.dispose()
        study = open_study(study_dir, open_storage(study_dir, None), SPACE, IDENTITY, True).optuna
        assert study.metric_names == ["MRR@10"]
    assert killed_at > 3


def test_a_study_of_another_program_is_rejected(study_dir: StudyDirectory) -> None:
    storage = open_storage(study_dir, None)
    optuna.create_study(storage=storage, study_name="study", direction="maximize").add_trial(
        optuna.trial.create_trial(value=1.0)
    )
    with pytest.raises(StudyMismatchError, match="created by another program"):
        open_study(study_dir, storage, SPACE, IDENTITY, True)


def test_a_missing_study_in_the_database_is_an_error(study_dir: StudyDirectory) -> None:
    with pytest.raises(StudyNotFoundError, match="holds no study"):
        load_study(study_dir, open_storage(study_dir, None), SPACE)
