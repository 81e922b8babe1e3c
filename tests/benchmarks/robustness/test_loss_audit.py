"""The audit of a study finds lost, repeated and damaged trials."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks.robustness.loss_audit import LossAudit, Reference, read_reference
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.files import append_line
from tests.support.bench import GRID, bench, quality
from tests.support.fake_training import FakeTraining

Events = list[dict[str, Any]]
ENDED: dict[str, Any] = {"event": "ended", "state": "complete", "epochs": 5}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished study."""
    with bench(tmp_path_factory.mktemp("finished"), GRID, FakeTraining(quality)) as run:
        run.search.run()
    return run.study_dir.directory


@pytest.fixture
def finished(study: Path, tmp_path: Path) -> tuple[LossAudit, Reference, Events]:
    """The audit of a finished study, the same study as its reference, and its events."""
    audit = LossAudit(StudyDirectory(Path(shutil.copytree(study, tmp_path / study.name))), parse(GRID))
    reference = read_reference(audit.study_dir, audit.space)
    events = [
        ENDED | {"trial": record.number, "score": record.score} for record in reference.records.values()
    ]
    return audit, reference, events


def test_a_complete_study_has_no_faults(finished: tuple[LossAudit, Reference, Events]) -> None:
    audit, reference, events = finished
    audit.record_events(events)
    assert audit.compare(reference) == 12
    assert (audit.lost, audit.repeated, audit.faults) == (set(), set(), [])


def change(statement: str) -> Callable[[StudyDirectory], None]:
    def make(study_dir: StudyDirectory) -> None:
        with closing(sqlite3.connect(study_dir.database)) as connection:
            connection.execute(statement)
            connection.commit()

    return make


@pytest.mark.parametrize(
    ("statement", "number"),
    [
        ("UPDATE trials SET state = 'RUNNING' WHERE number = 3", 3),
        ("UPDATE trial_values SET value = 0.5 WHERE trial_id = 4", 3),
        ("DELETE FROM trials WHERE number = 11", 11),
    ],
)
def test_a_trial_that_differs_from_its_event_is_lost(
    finished: tuple[LossAudit, Reference, Events], statement: str, number: int
) -> None:
    audit, reference, events = finished
    audit.record_events(events)
    change(statement)(audit.study_dir)
    audit.check()
    assert number in audit.lost
    audit.lost.clear()
    audit.compare(reference)
    assert number in audit.lost


@pytest.mark.parametrize(
    ("again", "kind"),
    [
        (ENDED | {"trial": 3, "score": 0.1}, "repeated"),
        ({"event": "started", "trial": 3, "params": {}}, "repeated"),
    ],
)
def test_a_trial_that_starts_or_ends_after_its_end_is_repeated(
    finished: tuple[LossAudit, Reference, Events], again: dict[str, Any], kind: str
) -> None:
    audit, _, events = finished
    audit.record_events(events)
    audit.record_events([again])
    assert audit.repeated == {3}


def test_two_trials_with_the_same_parameters_are_repeated(
    finished: tuple[LossAudit, Reference, Events],
) -> None:
    audit, reference, _ = finished
    change(
        "UPDATE trial_params SET param_value = (SELECT param_value FROM trial_params AS other "
        "WHERE other.trial_id = 1 AND other.param_name = trial_params.param_name) WHERE trial_id = 2"
    )(audit.study_dir)
    audit.compare(reference)
    assert (audit.lost, audit.repeated) == ({1}, {1})


def last_line(path: Path) -> str:
    return path.read_text().splitlines(keepends=True)[-1]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda study_dir: study_dir.trials.write_text(study_dir.trials.read_text()[:-20]),
            "trials.csv has a row",
        ),
        (
            lambda study_dir: append_line(study_dir.trials, last_line(study_dir.trials)),
            "trials.csv has trial 11 2",
        ),
        (lambda study_dir: study_dir.database.write_bytes(b"no database"), "unreadable after a kill"),
        (lambda study_dir: study_dir.manifest.write_text('{"format": 1'), "unreadable after a kill"),
    ],
)
def test_unreadable_files_are_faults(
    finished: tuple[LossAudit, Reference, Events], damage: Callable[[StudyDirectory], object], message: str
) -> None:
    audit, _, events = finished
    audit.record_events(events)
    damage(audit.study_dir)
    audit.check()
    assert any(message in fault for fault in audit.faults)


def test_missing_extra_and_different_files_are_faults(
    finished: tuple[LossAudit, Reference, Events],
) -> None:
    audit, reference, _ = finished
    (audit.study_dir.directory / ".ranking.csv.abcdefgh").touch()
    audit.study_dir.ranking_md.unlink()
    audit.study_dir.hyper_result.write_text("")
    change("DROP INDEX ix_studies_study_name")(audit.study_dir)
    audit.compare(reference)
    assert audit.faults == [
        "left over: .ranking.csv.abcdefgh",
        "missing: ranking.md",
        "differs from the search without kills: hyper.result",
        "differs from the search without kills: study.db",
    ]
