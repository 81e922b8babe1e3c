"""Studies that are deleted, begun again, or whose failed trials are tried again."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from typer.testing import CliRunner

import sasrecf_tune as st
from sasrecf_tune.cli import session
from sasrecf_tune.cli.app import app
from sasrecf_tune.errors import InputError, StorageError
from sasrecf_tune.executors.allocation import Allocation
from sasrecf_tune.executors.base import Executor
from sasrecf_tune.executors.inline import InlineExecutor
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.messages import Decision, Failure, FailureKind, Job, Report, Result
from sasrecf_tune.report.page import render
from sasrecf_tune.storage.database import coordination
from sasrecf_tune.storage.database.open import open_storage
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.lock import exclusive
from sasrecf_tune.trials import State
from tests.support.fake_training import FakeTraining

RUN = ["run", "--params-file", "hyper.test", "--study", "one", "--sampler", "grid", "--pruner", "none"]


class Unreliable(FakeTraining):
    """Fails on n_layers 2 while it is `broken`."""

    def __init__(self) -> None:
        super().__init__(lambda config: float(str(config["n_layers"])) / 10)
        self.broken = True

    def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
        if self.broken and job.config["n_layers"] == 2:
            self.jobs.append(job)
            on_report(Report(job.number, 1, 0.9, {"mrr@10": 0.9}, train_loss=1.0, seconds=0.1))
            return Failure(job.number, FailureKind.ERROR, "RuntimeError: a full disk elsewhere", epochs=1)
        job.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        job.checkpoint.touch()
        job.log.parent.mkdir(parents=True, exist_ok=True)
        job.log.touch()
        return super().train(job, on_report)


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Unreliable:
    """Training in place of that of all runs, in an empty directory."""
    fake = Unreliable()

    @contextlib.contextmanager
    def inline(_: RunSettings, __: StudyDirectory, ___: Allocation) -> Iterator[Executor]:
        yield InlineExecutor(fake.train, fake.describe)

    monkeypatch.setattr(session, "open_executor", inline)
    monkeypatch.setattr(render, "write_page", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    Path("hyper.test").write_text("n_layers choice [1, 2, 3]\nn_heads choice [1, 2]\n")
    return fake


@pytest.fixture
def study_dir() -> StudyDirectory:
    return StudyDirectory(Path("tuning/one").absolute())


def invoke(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def states() -> list[State]:
    return [record.state for record in st.load_study("one").trials]


def test_failed_trials_are_tried_again_with_their_numbers(
    training: Unreliable, study_dir: StudyDirectory
) -> None:
    invoke(*RUN)
    before = st.load_study("one").trials
    failed = [record.number for record in before if record.state == State.FAILED]
    assert len(failed) == 2 and all(before[number].params["n_layers"] == 2 for number in failed)
    training.jobs.clear()
    # Without the option nothing is left to do.
    invoke("resume", "one")
    assert not training.jobs
    training.broken = False
    assert "2 failed trials to be tried again" in invoke("resume", "one", "--retry-failed")
    assert [job.number for job in training.jobs] == failed
    after = st.load_study("one").trials
    assert states() == [State.COMPLETE] * 6 and not any(record.error for record in after)
    assert [(record.params, record.seed) for record in after] == [
        (record.params, record.seed) for record in before
    ]
    assert [after[number].epochs for number in failed] == [5, 5]
    assert "RuntimeError" not in study_dir.trials.read_text()
    found = optuna.load_study(study_name="one", storage=f"sqlite:///{study_dir.database}")
    assert ":note" not in repr(found._storage.get_study_system_attrs(found._study_id))
    assert [list(trial.intermediate_values) for trial in found.trials] == [[1, 2, 3, 4, 5]] * 6


def test_a_trial_that_fails_again_is_a_failed_trial_again(training: Unreliable) -> None:
    invoke(*RUN)
    study = st.load_study("one")
    study.resume(retry_failed=True, progress=False)
    assert [record.state for record in study.trials].count(State.FAILED) == 2
    assert len([job for job in training.jobs if job.config["n_layers"] == 2]) == 4


def test_nothing_is_deleted_without_an_answer(
    training: Unreliable, study_dir: StudyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke(*RUN)
    before = {path: path.stat().st_mtime_ns for path in study_dir.directory.rglob("*")}
    for words in (["studies", "--delete", "one"], [*RUN, "--fresh"]):
        with pytest.raises(InputError, match=r"6 ended trials(.|\n)*--yes"):
            invoke(*words)
        monkeypatch.setattr("sasrecf_tune.cli.deletion.sys", Terminal())
        result = CliRunner().invoke(app, words, input="n\n")
        assert result.exit_code == 1 and "Nothing was deleted." in result.output
        monkeypatch.setattr("sasrecf_tune.cli.deletion.sys", sys)
    assert {path: path.stat().st_mtime_ns for path in study_dir.directory.rglob("*")} == before
    monkeypatch.setattr("sasrecf_tune.cli.deletion.sys", Terminal())
    result = CliRunner().invoke(app, ["studies", "--delete", "one"], input="y\n")
    assert result.exit_code == 0 and "6 ended trials in tuning/one" in result.output
    assert not study_dir.directory.exists()


class Terminal:
    """In place of `sys`: the standard input is a terminal."""

    def __init__(self) -> None:
        self.stdin = self

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("given", ["one", "tuning/one", "tuning/one/study.db"])
def test_a_deleted_study_leaves_nothing(training: Unreliable, study_dir: StudyDirectory, given: str) -> None:
    training.broken = False
    invoke(*RUN, "--confirm", "1", "--confirm-seeds", "2")
    assert study_dir.confirmation_csv.is_file() and study_dir.checkpoints.is_dir() and study_dir.logs.is_dir()
    assert "deleted tuning/one" in invoke("studies", "--delete", given, "--yes")
    assert list(Path("tuning").iterdir()) == []
    with pytest.raises(InputError, match="no studies here"):
        invoke("report")


def test_files_of_others_are_kept(training: Unreliable, study_dir: StudyDirectory) -> None:
    invoke(*RUN)
    mine = study_dir.directory / "hyper.test", study_dir.checkpoints / "mine.pth"
    for path in mine:
        path.touch()
    assert "other files in its directory are kept" in invoke("studies", "--delete", "one", "--yes")
    assert [path for path in study_dir.directory.rglob("*") if path.is_file()] == sorted(mine, reverse=True)


def test_a_study_at_work_is_not_deleted(training: Unreliable, study_dir: StudyDirectory) -> None:
    invoke(*RUN)
    before = sorted(study_dir.directory.rglob("*"))
    for words in (["--yes"], []):  # nobody is asked first
        with exclusive(study_dir), pytest.raises(StorageError, match="another run is using this study"):
            invoke("studies", "--delete", "one", *words)
    assert sorted(study_dir.directory.rglob("*")) == before


def test_links_are_not_followed(training: Unreliable, study_dir: StudyDirectory, tmp_path: Path) -> None:
    invoke(*RUN)
    mine = tmp_path / "trial-0001.log"
    mine.touch()
    (study_dir.directory / "logs").rename(tmp_path / "others")
    (study_dir.directory / "logs").symlink_to(tmp_path)
    with pytest.raises(StorageError, match="this link in the study directory leads elsewhere"):
        invoke("studies", "--delete", "one", "--yes")
    assert mine.exists() and study_dir.database.exists()


@pytest.mark.parametrize("database", ["intact", "missing", "corrupt"])
def test_a_study_is_begun_afresh(training: Unreliable, study_dir: StudyDirectory, database: str) -> None:
    invoke(*RUN)
    mine = study_dir.directory / "notes.txt"
    mine.touch()
    if database != "intact":
        study_dir.database.write_bytes(b"corrupt" * 1000)
    if database == "missing":
        study_dir.database.unlink()
    Path("hyper.test").write_text("n_layers choice [1, 3]\n")
    training.jobs.clear()
    invoke(*RUN, "--fresh", "--yes")
    assert states() == [State.COMPLETE] * 2 and [job.number for job in training.jobs] == [0, 1]
    assert mine.exists() and len(study_dir.trials.read_text().splitlines()) == 3


def test_a_run_that_is_refused_deletes_nothing(training: Unreliable, study_dir: StudyDirectory) -> None:
    invoke(*RUN)
    before = study_dir.trials.read_text()
    with pytest.raises(InputError):
        invoke(*RUN, "--fresh", "--yes", "--set", "n_heads=1")
    with exclusive(study_dir), pytest.raises(StorageError):
        invoke(*RUN, "--fresh", "--yes")
    assert study_dir.trials.read_text() == before


def test_fresh_begins_a_study_that_does_not_exist(training: Unreliable) -> None:
    invoke(*RUN, "--fresh")
    assert len(states()) == 6


def test_a_study_is_deleted_or_begun_afresh_from_python(
    training: Unreliable, study_dir: StudyDirectory
) -> None:
    training.broken = False
    for fresh in (False, True):
        st.tune({"n_layers": [1, 3]}, study="one", out="tuning", fresh=fresh, progress=False)
    assert len(training.jobs) == 4
    st.load_study("one").delete()
    assert not study_dir.directory.exists()


def test_a_study_on_a_server(
    training: Unreliable, study_dir: StudyDirectory, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke(*RUN, "--storage", url)
    with pytest.raises(InputError, match="in another database"):
        invoke(*RUN, "--fresh", "--yes")
    local = [word if word != "one" else "local" for word in RUN]
    invoke(*local)
    for words in ([], ["--fresh"], ["--fresh", "--yes"]):
        with pytest.raises(InputError, match="is in its directory"):
            invoke(*local, *words, "--storage", url)
    # It is also asked for where the study has no directory, on another machine.
    for out in ("tuning", "elsewhere"):
        with pytest.raises(InputError, match=r"6 ended trials(.|\n)*--yes"):
            invoke(*RUN, "--fresh", "--storage", url, "--out", out)
    # A run elsewhere is at work.
    storage = open_storage(study_dir, url)
    _, peer = coordination.open_coordinated(storage, "one")
    peer.join("", lambda _: None)
    for words in (
        ["studies", "--delete", "one", "--yes"],
        [*RUN, "--fresh", "--yes"],
        ["resume", "one", "--retry-failed"],
    ):
        with pytest.raises(StorageError, match="other runs work on this study"):
            invoke(*words, "--storage", url)
    peer.leave()
    assert len(states_on(url)) == 6
    training.broken = False
    invoke("resume", "one", "--retry-failed", "--storage", url)
    assert states_on(url) == [State.COMPLETE] * 6
    invoke(*RUN, "--fresh", "--yes", "--storage", url, "--confirm", "1", "--confirm-seeds", "1")
    assert sorted(one.study_name for one in storage.get_all_studies()) == ["one", "one confirmation"]
    monkeypatch.setenv("SASRECF_TUNE_STORAGE", url)
    invoke("studies", "--delete", "one", "--yes")
    assert storage.get_all_studies() == [] and not study_dir.directory.exists()
    storage.engine.dispose()


def states_on(url: str) -> list[State]:
    return [record.state for record in st.load_study("one", storage=url).trials]
