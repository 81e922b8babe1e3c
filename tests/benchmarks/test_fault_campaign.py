"""A short fault campaign, and that a campaign sees what it looks for."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.files import append_line
from tests.support.bench import GRID, bench, quality
from tests.support.fake_training import FakeTraining
from tests.support.paths import BENCHMARKS

if TYPE_CHECKING:
    from ledger import Ledger, Reference

Events = list[dict[str, Any]]
ENDED: dict[str, Any] = {"event": "ended", "state": "complete", "epochs": 5}


def campaign(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / "faults.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_short_campaign_loses_nothing() -> None:
    scenarios = ["inline-fake", "local-fake", "inline-real"]
    done = campaign("--kills", "6", *(part for name in scenarios for part in ("--scenario", name)))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["kills"] == 6
    assert [f"{row['executor']}-{row['trials']}" for row in result["rows"]] == scenarios
    for row in result["rows"]:
        assert row["finished"] == row["studies"] * (6 if row["trials"] == "real" else 24) > 0
        assert [row[what] for what in ("lost", "repeated", "orphans", "other_faults")] == [0, 0, 0, 0]


def test_an_unknown_scenario_is_one_line() -> None:
    done = campaign("--scenario", "remote-fake")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --scenario: no scenario 'remote-fake'")
    assert done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished study."""
    with bench(tmp_path_factory.mktemp("finished"), GRID, FakeTraining(quality)) as run:
        run.search.run()
    return run.study_dir.directory


@pytest.fixture
def finished(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Ledger, Reference, Events]:
    """The ledger of a finished study, the same study as its reference, and what its run said at the ends."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    from ledger import Ledger, survey

    ledger = Ledger(StudyDirectory(Path(shutil.copytree(study, tmp_path / study.name))), parse(GRID))
    reference = survey(ledger.study_dir, ledger.space)
    events = [
        ENDED | {"trial": record.number, "score": record.score} for record in reference.records.values()
    ]
    return ledger, reference, events


def test_nothing_is_said_of_a_study_that_has_all(finished: tuple[Ledger, Reference, Events]) -> None:
    ledger, reference, events = finished
    ledger.hear(events)
    assert ledger.compare(reference) == 12
    assert (ledger.lost, ledger.repeated, ledger.faults) == (set(), set(), [])


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
def test_a_trial_that_is_not_as_it_was_said_to_be_is_lost(
    finished: tuple[Ledger, Reference, Events], statement: str, number: int
) -> None:
    ledger, reference, events = finished
    ledger.hear(events)
    change(statement)(ledger.study_dir)
    ledger.check()
    assert number in ledger.lost
    ledger.lost.clear()
    ledger.compare(reference)
    assert number in ledger.lost


@pytest.mark.parametrize(
    ("again", "kind"),
    [
        (ENDED | {"trial": 3, "score": 0.1}, "repeated"),
        ({"event": "started", "trial": 3, "params": {}}, "repeated"),
    ],
)
def test_a_trial_that_is_trained_after_its_end_is_repeated(
    finished: tuple[Ledger, Reference, Events], again: dict[str, Any], kind: str
) -> None:
    ledger, _, events = finished
    ledger.hear(events)
    ledger.hear([again])
    assert ledger.repeated == {3}


def test_a_cell_of_two_trials_is_repeated(finished: tuple[Ledger, Reference, Events]) -> None:
    ledger, reference, _ = finished
    change(
        "UPDATE trial_params SET param_value = (SELECT param_value FROM trial_params AS other "
        "WHERE other.trial_id = 1 AND other.param_name = trial_params.param_name) WHERE trial_id = 2"
    )(ledger.study_dir)
    ledger.compare(reference)
    assert (ledger.lost, ledger.repeated) == ({1}, {1})


def last_line(path: Path) -> str:
    return path.read_text().splitlines(keepends=True)[-1]


@pytest.mark.parametrize(
    ("damage", "said"),
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
def test_files_that_cannot_be_read_are_faults(
    finished: tuple[Ledger, Reference, Events], damage: Callable[[StudyDirectory], object], said: str
) -> None:
    ledger, _, events = finished
    ledger.hear(events)
    damage(ledger.study_dir)
    ledger.check()
    assert any(said in fault for fault in ledger.faults)


def test_files_too_many_too_few_or_other_ones_are_faults(
    finished: tuple[Ledger, Reference, Events],
) -> None:
    ledger, reference, _ = finished
    (ledger.study_dir.directory / ".ranking.csv.abcdefgh").touch()
    ledger.study_dir.ranking_md.unlink()
    ledger.study_dir.hyper_result.write_text("")
    change("DROP INDEX ix_studies_study_name")(ledger.study_dir)
    ledger.compare(reference)
    assert ledger.faults == [
        "left over: .ranking.csv.abcdefgh",
        "missing: ranking.md",
        "not as without kills: hyper.result",
        "not as without kills: study.db",
    ]


def test_a_process_that_outlives_its_coordinator_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from attack import Run

    said = json.dumps({"event": "started", "trial": 0, "params": {}})
    with Run(["sh", "-c", f"sleep 600 & echo '{said}'; wait"], tmp_path) as run:
        assert run.wait(lambda: run.ready is not None)
        run.kill()
        assert run.killed
        assert run.left_behind(patience=0) == 1
        assert run.left_behind() == 0
