"""Disk failures: the error is clear, no ended trial is lost, the same command continues the study."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sasrecf_tune.cli.app import app
from sasrecf_tune.errors import StorageError, TuneError
from sasrecf_tune.executors.local import LocalExecutor
from sasrecf_tune.messages import Decision, Describe, Failure, FailureKind, Job, Report, Result
from sasrecf_tune.storage.database.errors import check_database, reading_errors, storage_errors
from sasrecf_tune.storage.database.open import open_storage
from sasrecf_tune.storage.directory import StudyDirectory, studies
from sasrecf_tune.storage.manifest import settings_content, write_manifest
from sasrecf_tune.trials import State
from tests.support import readme_blocks
from tests.support.bench import GRID, Bench, bench, cells, quality
from tests.support.fake_training import FakeTraining
from tests.support.tiny import TINY

Cli = Callable[..., subprocess.CompletedProcess[str]]


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Limit files to `size` bytes: a full disk, as far as it can be simulated without being root."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class Mishap(FakeTraining):
    """Calls `mishap` before trial `number` is trained."""

    def __init__(self, number: int, mishap: Callable[[], object]) -> None:
        super().__init__(quality)
        self.number = number
        self.mishap = mishap

    def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
        if job.number == self.number:
            self.mishap()
        return super().train(job, on_report)


def manifest_of(run: Bench) -> None:
    plan = run.plan
    content = settings_content(plan.settings, plan.space, None)
    planned = {"planned_trials": plan.trials, "sampler": plan.sampler, "pruner": plan.pruner.recorded}
    write_manifest(run.study_dir, content | planned | {"data": vars(plan.data)})


def finish(directory: Path, expected_before: int) -> None:
    """Repeat the search: it ends with all 12 configurations, `expected_before` of them recorded before."""
    training = FakeTraining(quality)
    with bench(directory, GRID, training) as run:
        run.search.run()
        records = run.records()
    assert len(records) == len(set(cells(records))) == 12
    assert all(record.state == State.COMPLETE for record in records)
    assert len(training.jobs) == 12 - expected_before
    lines = (directory / "study" / "trials.csv").read_text().splitlines()
    assert len(lines) == 13


def test_the_disk_is_full_in_the_middle_of_a_search(tmp_path: Path) -> None:
    study_dir = StudyDirectory(tmp_path / "study")
    with contextlib.ExitStack() as limits:

        def fill() -> None:
            limits.enter_context(largest_file(1024))

        with (
            pytest.raises(StorageError, match=r"study\.db: database error: .*\nFree space") as caught,
            storage_errors(study_dir, None),
            bench(tmp_path, GRID, Mishap(3, fill)) as run,
        ):
            run.search.run()
        assert caught.value.exit_code == 1
    check_database(study_dir, None)
    finish(tmp_path, expected_before=3)


def test_the_disk_is_full_from_the_start(tmp_path: Path) -> None:
    study_dir = StudyDirectory(tmp_path / "study")
    with bench(tmp_path / "whole", GRID, FakeTraining(quality)):
        size = StudyDirectory(tmp_path / "whole" / "study").database.stat().st_size
    for limit in range(4096, size, 8192):
        with (
            largest_file(limit),
            pytest.raises(StorageError, match="Free space"),
            storage_errors(study_dir, None),
            bench(tmp_path, GRID, FakeTraining(quality)),
        ):
            pass
        assert not list(study_dir.directory.iterdir())  # the database is there whole or not at all
    finish(tmp_path, expected_before=0)


def test_a_directory_in_the_place_of_a_file(tmp_path: Path) -> None:
    study_dir = StudyDirectory(tmp_path / "study")

    def put_in_the_way() -> None:
        study_dir.trials.unlink()
        study_dir.trials.mkdir()

    with (
        pytest.raises(StorageError, match=r"trials\.csv: cannot write: Is a directory\nAnother file"),
        storage_errors(study_dir, None),
        bench(tmp_path, GRID, Mishap(2, put_in_the_way)) as run,
    ):
        run.search.run()
    study_dir.trials.rmdir()
    finish(tmp_path, expected_before=3)


def test_the_study_is_removed_during_a_search(tmp_path: Path) -> None:
    study_dir = StudyDirectory(tmp_path / "study")
    with (
        pytest.raises(StorageError, match=r"study\.db: the study's database was removed"),
        storage_errors(study_dir, None),
        bench(tmp_path, GRID, Mishap(2, lambda: shutil.rmtree(study_dir.directory))) as run,
    ):
        run.search.run()
    assert not study_dir.directory.exists()  # nothing of it was made anew
    finish(tmp_path, expected_before=0)


def test_a_trial_whose_weights_cannot_be_written_is_queued_again(tmp_path: Path) -> None:
    class NoRoom(FakeTraining):
        def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
            if job.number == 2:
                return Failure(
                    job.number, FailureKind.DISK, "trial-0002.pth: cannot write: No space left on device"
                )
            return super().train(job, on_report)

    with (
        bench(tmp_path, GRID, NoRoom(quality), retries=5) as run,
        pytest.raises(StorageError, match=r"trial-0002\.pth: cannot write: No space.*\nFree space"),
    ):
        run.search.run()
    finish(tmp_path, expected_before=2)


# ---- Studies that were corrupted ----


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("finished")
    with bench(directory, GRID, FakeTraining(quality)) as run:
        run.search.run()
        manifest_of(run)
    return directory / "study"


@pytest.fixture
def study_dir(finished: Path, tmp_path: Path) -> StudyDirectory:
    shutil.copytree(finished, tmp_path / "out" / "study")
    return StudyDirectory(tmp_path / "out" / "study")


def cut(path: Path, size: int) -> None:
    os.truncate(path, size if size >= 0 else path.stat().st_size + size)


def scribble(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(5 * 4096)
        file.write(os.urandom(6 * 4096))


def foreign(path: Path) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")


def instead(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: cut(path, 0), "the study was started, but its database is empty"),
    "a header": (lambda path: cut(path, 100), "the database is corrupt"),
    "half": (lambda path: cut(path, path.stat().st_size // 2), "the database is corrupt"),
    "the last page short": (lambda path: cut(path, -1000), "the database is corrupt"),
    "the last page missing": (lambda path: cut(path, -4096), "the database is corrupt"),
    "scribbled over": (scribble, "the database is corrupt"),
    "text": (lambda path: path.write_text("my notes\n"), "the database is corrupt or not SQLite"),
    "foreign": (foreign, "the database is not one of Optuna"),
    "missing": (Path.unlink, "the study was started, but its database is missing"),
    "a directory": (lambda path: instead(path, Path.mkdir), "not a file"),
    "a pipe": (lambda path: instead(path, os.mkfifo), "not a file"),
}


@pytest.mark.parametrize("command", ["report", "best", "resume", "run"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_corrupt_database(study_dir: StudyDirectory, kind: str, command: str) -> None:
    damage, said = DAMAGE[kind]
    damage(study_dir.database)

    def everything() -> dict[str, bytes]:
        files = (path for path in study_dir.directory.rglob("*") if path.is_file())
        return {path.name: path.read_bytes() for path in files if path != study_dir.lock}

    before = everything()
    out = study_dir.directory.parent
    arguments = [command, "study", "--out", str(out)]
    if command == "run":
        (out / "hyper.test").write_text(GRID)
        arguments = [command, "--params-file", str(out / "hyper.test"), "--study", "study", "--out", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, StorageError), result.exception
    assert str(result.exception).startswith(f"{study_dir.database}: {said}"), str(result.exception)
    advice = result.exception.fix.partition("or start another study: sasrecf-tune ")[2]
    name, *options = advice.split()
    readme_blocks.commands()[name].make_context(name, options)
    assert everything() == before
    listed = CliRunner().invoke(app, ["studies", "--out", str(out)])
    assert listed.exit_code == 0 and "12 of 12" in listed.output


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE trial_user_attributes SET value_json = '{' WHERE key = 'valid'",
        "UPDATE trial_user_attributes SET value_json = '5' WHERE key = 'valid'",
        """UPDATE trial_user_attributes SET value_json = '{"ndcg@10": 1}' WHERE key = 'valid'""",
        "UPDATE trial_user_attributes SET value_json = '\"many\"' WHERE key = 'epochs'",
        "UPDATE study_user_attributes SET value_json = '[' WHERE key = 'sasrecf_tune:identity'",
        "UPDATE study_user_attributes SET value_json = '[]' WHERE key = 'sasrecf_tune:identity'",
        "UPDATE study_directions SET direction = 'SIDEWAYS'",
        "UPDATE trials SET state = 'LOST' WHERE number = 3",
        "UPDATE trials SET datetime_start = 'noon' WHERE number = 3",
        "UPDATE trial_params SET distribution_json = '{}'",
        "UPDATE trial_params SET param_value = 7 WHERE param_name = 'n_layers'",
        "UPDATE trial_params SET distribution_json = replace(distribution_json, '0.01', '0.02')",
        "DELETE FROM trials WHERE number = 3",
    ],
)
def test_a_study_with_unexpected_content(study_dir: StudyDirectory, change: str) -> None:
    with contextlib.closing(sqlite3.connect(study_dir.database)) as connection, connection:
        assert connection.execute(change).rowcount > 0
    for command in ("report", "best"):
        result = CliRunner().invoke(app, [command, "--out", str(study_dir.directory.parent)])
        assert isinstance(result.exception, StorageError), result.exception
        assert "unexpected content in the study database" in str(result.exception)


def test_other_exceptions_are_not_reported_as_corruption(study_dir: StudyDirectory) -> None:
    for error in (ValueError("x"), KeyError("x"), TypeError("x"), AttributeError("x")):
        with pytest.raises(type(error)), reading_errors(study_dir, None):
            raise error


def test_the_list_of_studies_counts_ended_trials(study_dir: StudyDirectory) -> None:
    lines = study_dir.trials.read_text().splitlines(keepends=True)
    listed = ["studies", "--json", "--out", str(study_dir.directory.parent)]
    for content, ended in (
        (b"", 0),
        ("".join(lines[:1]).encode(), 0),
        ("".join(lines[:5]).encode(), 4),
        (b"\xff", None),
        (None, None),
    ):
        if content is None:
            study_dir.trials.unlink()
        else:
            study_dir.trials.write_bytes(content)
        (row,) = json.loads(CliRunner().invoke(app, listed).output)
        assert (row["ended"], row["planned_trials"]) == (ended, 12)
    assert "? of 12" in CliRunner().invoke(app, ["studies", "--out", str(study_dir.directory.parent)]).output


def test_the_transaction_of_a_killed_run_is_rolled_back(study_dir: StudyDirectory) -> None:
    script = f"""
import os, signal, sqlite3
connection = sqlite3.connect({str(study_dir.database)!r})
connection.execute("PRAGMA cache_size = 2")
connection.execute("BEGIN IMMEDIATE")
connection.execute("CREATE TABLE junk (text TEXT)")
connection.executemany("INSERT INTO junk VALUES (?)", [("x" * 500,)] * 3000)
connection.execute("DELETE FROM trials")
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    left = [path.name for path in study_dir.directory.glob("study.db-*")]
    assert left, "SQLite keeps its rollback journal beside the database"
    result = CliRunner().invoke(app, ["report", "--format", "csv", "--out", str(study_dir.directory.parent)])
    assert result.exception is None and result.output.count("complete") == 12


def test_a_corrupt_manifest(study_dir: StudyDirectory) -> None:
    study_dir.manifest.write_text("{")
    result = CliRunner().invoke(app, ["report", "study", "--out", str(study_dir.directory.parent)])
    assert isinstance(result.exception, TuneError) and "`run` writes a new one" in str(result.exception)


def test_errors_of_this_program_pass_unchanged(study_dir: StudyDirectory) -> None:
    with pytest.raises(TuneError, match="mine"), reading_errors(study_dir, None):
        raise TuneError("mine")
    with pytest.raises(ZeroDivisionError), storage_errors(study_dir, None):
        raise ZeroDivisionError


# ---- Rights ----

# Root can write anywhere, unless the process gives that up.
_LIMITED = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"]


@pytest.fixture
def unprivileged() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line as a user to whom the permissions of files apply."""
    prefix: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None or subprocess.run([*_LIMITED, "true"], check=False).returncode:
            pytest.skip("root, and setpriv cannot take its rights away")
        prefix = _LIMITED

    def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*prefix, sys.executable, "-m", "sasrecf_tune", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"},
        )

    return call


def test_a_read_only_directory(study_dir: StudyDirectory, unprivileged: Cli) -> None:
    out = study_dir.directory.parent
    (out / "hyper.test").write_text(GRID)
    study_dir.directory.chmod(0o555)
    study_dir.database.chmod(0o444)
    study_dir.lock.touch(0o444)
    try:
        assert unprivileged("report", "--out", out).returncode == 0
        refused = [
            unprivileged("resume", "--out", out),
            unprivileged("run", "--params-file", out / "hyper.test", "--out", study_dir.directory),
        ]
    finally:
        study_dir.directory.chmod(0o755)
    for done in refused:
        assert done.returncode == 1, done.stdout + done.stderr
        assert "cannot write: Permission denied\nMake it and its directory writable" in done.stderr
        assert "Traceback" not in done.stderr


def test_an_unreadable_study_does_not_hide_the_others(study_dir: StudyDirectory, unprivileged: Cli) -> None:
    out = study_dir.directory.parent
    shutil.copytree(study_dir.directory, out / "secret")
    (out / "secret").chmod(0)
    try:
        listed = unprivileged("studies", "--out", out)
    finally:
        (out / "secret").chmod(0o755)
    assert listed.returncode == 0 and "study" in listed.stdout and "secret" not in listed.stdout
    assert {found.name for found in studies(out)} == {"secret", "study"}


def test_output_to_a_full_disk(study_dir: StudyDirectory) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "sasrecf_tune", "report", "--out", str(study_dir.directory.parent)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (1, "error: No space left on device\n")


# ---- Workers ----


class Outcomes:
    """A handler that continues, whatever happens."""

    def __init__(self) -> None:
        self.outcomes: list[Result | Failure] = []

    def on_report(self, report: Report) -> Decision:
        return Decision.CONTINUE

    def on_outcome(self, outcome: Result | Failure) -> None:
        self.outcomes.append(outcome)


def test_logs_that_cannot_be_written(tmp_path: Path) -> None:
    study_dir = StudyDirectory(tmp_path / "study")
    study_dir.directory.mkdir()
    logs = study_dir.directory / "logs"
    executor = LocalExecutor(study_dir, runner="tests.support.fake_runner:StandIn")
    try:
        logs.touch()
        with pytest.raises(StorageError, match=r"logs: cannot write: File exists"):
            executor.describe(Describe({}, "fast"))
        executor.close()
        logs.unlink()
        executor.describe(Describe({}, "fast"))
        shutil.rmtree(study_dir.directory)
        heard = Outcomes()
        executor.submit(Job(0, {}, "fast", study_dir.log(0), study_dir.checkpoint(0)))
        for _ in range(600):
            executor.step(heard, 0.1)
            if heard.outcomes:
                break
    finally:
        executor.close()
    (failure,) = heard.outcomes
    assert isinstance(failure, Failure) and failure.kind == FailureKind.DISK
    assert failure.reason == f"{study_dir.log(0)}: cannot write: No such file or directory"
    assert not study_dir.directory.exists()


def test_weights_that_do_not_fit_on_the_disk(tmp_path: Path, cli_process: Cli) -> None:
    (tmp_path / "hyper.test").write_text("learning_rate choice [0.01, 0.001]\n")
    settings = TINY | {"hidden_size": 48, "epochs": 1}
    (tmp_path / "wide.yaml").write_text("".join(f"{key}: {value!r}\n" for key, value in settings.items()))
    arguments = ["run", "--params-file", "hyper.test", "--config-files", "wide.yaml", "--gpus", "none"]
    with largest_file(200_000):  # the database fits, the weights of 48 x 1,683 floats do not
        done = cli_process(*arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "checkpoints/trial-0000.pth: cannot write: File too large\nFree space" in done.stderr
    study_dir = StudyDirectory(tmp_path / "tuning" / "ml-100k-hyper")
    assert list(study_dir.checkpoints.iterdir()) == []
    storage = open_storage(study_dir, None)
    assert [trial.state.name for trial in storage.get_all_trials(1)] == ["WAITING"]
    storage.engine.dispose()
    again = cli_process(*arguments)
    assert again.returncode == 0 and "0 of 2 trials have ended, 1 interrupted" in again.stdout
    assert len(list(study_dir.checkpoints.iterdir())) == 2
