"""optuna-dashboard on a study of ours: what its page asks for, notes on failed trials, what can go wrong."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna_dashboard import get_note, save_note
from typer.testing import CliRunner

from sasrecf_tune.cli.app import app
from sasrecf_tune.cli.dashboard import own_pages_only
from sasrecf_tune.errors import InputError, StudyNotFoundError
from sasrecf_tune.messages import Decision, Failure, FailureKind, Job, Report, Result
from sasrecf_tune.storage.database.dashboard_notes import failure_note
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.manifest import settings_content, write_manifest
from tests.support.bench import Bench, bench
from tests.support.fake_training import FakeTraining

SPACE = "n_layers choice [1, 2, 3]\n"
REASON = "the loss became NaN: <b>*learning_rate* too high?</b>"
LOG = "".join(f"line {number}\n" for number in range(5000)) + "\x1b[1mValueError\x1b[0m: ```nan``` <script>\n"


class Failing(FakeTraining):
    """Trials of two layers fail, and say in their log why; `before` is called first."""

    def __init__(self, before: Callable[[Job], object] = lambda _: None) -> None:
        super().__init__(lambda config: float(str(config["n_layers"])) / 10)
        self.before = before

    def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
        if job.config["n_layers"] != 2:
            return super().train(job, on_report)
        job.log.parent.mkdir(exist_ok=True)
        job.log.write_text(LOG)
        self.before(job)
        return Failure(job.number, FailureKind.NAN, REASON)


OWN = "127.0.0.1:8080"


@pytest.mark.parametrize(
    ("method", "headers", "allowed"),
    [
        ("GET", {"HTTP_HOST": OWN}, True),
        ("GET", {"HTTP_HOST": "localhost:8080"}, True),
        ("GET", {"HTTP_HOST": OWN, "HTTP_SEC_FETCH_SITE": "cross-site"}, True),  # a link on another page
        ("DELETE", {"HTTP_HOST": OWN, "HTTP_ORIGIN": f"http://{OWN}"}, True),
        ("POST", {"HTTP_HOST": OWN, "HTTP_ORIGIN": "http://attacker.example"}, False),
        ("POST", {"HTTP_HOST": OWN, "HTTP_ORIGIN": "null"}, False),
        ("POST", {"HTTP_HOST": OWN, "HTTP_ORIGIN": "http://127.0.0.1:9000"}, False),
        ("POST", {"HTTP_HOST": OWN, "HTTP_SEC_FETCH_SITE": "cross-site"}, False),
        ("DELETE", {"HTTP_HOST": "attacker.example:8080"}, False),
        ("GET", {"HTTP_HOST": "127.0.0.1.attacker.example:8080"}, False),
        ("GET", {"HTTP_HOST": "localhost"}, True),  # a tunnel from port 80
        ("GET", {"HTTP_HOST": "LOCALHOST:9999"}, True),
        ("DELETE", {"HTTP_HOST": "localhost:9999", "HTTP_ORIGIN": "http://localhost:9999"}, True),
        ("DELETE", {"HTTP_HOST": "[::1]:9999", "HTTP_ORIGIN": "https://[::1]:9999"}, True),
        ("DELETE", {"HTTP_HOST": "localhost:9999", "HTTP_ORIGIN": "http://localhost:8080"}, False),
        ("DELETE", {"HTTP_HOST": "localhost:9999", "HTTP_ORIGIN": "http://127.0.0.1:9999"}, False),
        ("GET", {"HTTP_HOST": OWN, "HTTP_ORIGIN": "null"}, False),
        ("GET", {"HTTP_HOST": "0.0.0.0:8080"}, False),
        ("GET", {"HTTP_HOST": "localhost.attacker.example:8080"}, False),
        ("GET", {"HTTP_HOST": "x.localhost:8080"}, False),
        ("GET", {"HTTP_HOST": "127.0.0.1:8080@attacker.example"}, False),
        ("GET", {"HTTP_HOST": "attacker.example:80 127.0.0.1:8080"}, False),
        ("GET", {}, False),
    ],
)
def test_the_dashboard_answers_only_its_own_pages(
    method: str, headers: dict[str, str], allowed: bool
) -> None:
    answered: list[str] = []

    def dashboard(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"page"]

    def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> Any:
        answered.append(status)
        policy = dict(headers)["Content-Security-Policy"]
        assert policy.startswith("frame-ancestors 'self'") and "attacker" not in policy

    (body,) = own_pages_only(dashboard, lambda: 8080)({"REQUEST_METHOD": method, **headers}, start_response)
    assert (answered, body == b"page") == ((["200 OK"], True) if allowed else (["403 Forbidden"], False))


def with_manifest(run: Bench) -> None:
    plan = run.plan
    write_manifest(run.study_dir, settings_content(plan.settings, plan.space, None))


@pytest.fixture(scope="module")
def study_dir(tmp_path_factory: pytest.TempPathFactory) -> StudyDirectory:
    directory = tmp_path_factory.mktemp("tuning")
    with bench(directory, SPACE, Failing()) as run:
        run.search.run()
        with_manifest(run)
    return run.study_dir


def studied(study_dir: StudyDirectory) -> optuna.Study:
    return optuna.load_study(study_name="study", storage=f"sqlite:///{study_dir.database}")


def recorded_note(study: optuna.Study, number: int) -> str:
    return str(get_note(optuna.Trial(study, study.trials[number]._trial_id)))


def number_of_failed(study: optuna.Study) -> int:
    (failed,) = (trial.number for trial in study.trials if trial.state.name == "FAIL")
    return failed


@pytest.fixture
def heeding_ctrl_c() -> Iterator[None]:
    """What is started in the background of a script ignores Ctrl-C, and so would its own processes."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeding_ctrl_c")
def test_the_dashboard_runs_until_ctrl_c(study_dir: StudyDirectory) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "sasrecf_tune",
            "dashboard",
            "--port",
            "0",
            "--out",
            study_dir.directory.parent,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        name, _, address = process.stdout.readline().strip().partition(": ")
        assert name == "study"
        assert process.stdout.readline().startswith("Its importances (PED-ANOVA) say what sets the best")
        assert process.stdout.readline() == "Press Ctrl-C to stop.\n"
        with urllib.request.urlopen(address, timeout=60) as page:
            assert b"Optuna Dashboard" in page.read()
            # No image of a note is loaded from elsewhere, and no other site shows it in a frame.
            policy = " ".join(page.headers.get_all("Content-Security-Policy"))
        assert "default-src 'self'" in policy and "frame-ancestors 'self' http://localhost:*" in policy
        with urllib.request.urlopen(address.replace("dashboard", "api"), timeout=60) as answer:
            trials: list[dict[str, Any]] = json.load(answer)["trials"]
        rebound = urllib.request.Request(address, headers={"Host": "attacker.example"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(rebound, timeout=60)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0 and not errors, errors
    notes = [trial["note"]["body"] for trial in trials if trial["state"] == "Fail"]
    assert len(trials) == 3 and len(notes) == 1 and "ValueError" in notes[0]
    for trial in trials:
        attributes = {each["key"]: each["value"] for each in trial["user_attrs"]}
        assert attributes["log"] == f"logs/trial-{trial['number']:04d}.log"
        # In one line of the page.
        assert all(len(value) < 200 for value in attributes.values())


def test_a_note_has_the_reason_and_the_end_of_the_log(study_dir: StudyDirectory) -> None:
    study = studied(study_dir)
    failed = number_of_failed(study)
    note = recorded_note(study, failed)
    assert note == failure_note(REASON, study_dir.log(failed))
    title, _, place, _, fence, *log, last = note.rstrip("\n").split("\n")
    assert title == r"**the loss became NaN: \<b\>\*learning\_rate\* too high?\</b\>**"
    assert place == f"The end of `logs/trial-{failed:04d}.log`:"
    assert (fence, last) == ("````text", "````")
    assert len(log) == 25 and log[-1] == "ValueError: ```nan``` <script>"
    assert not any(recorded_note(study, number) for number in range(3) if number != failed)


def test_long_notes_and_missing_logs(study_dir: StudyDirectory, tmp_path: Path) -> None:
    assert "(cannot be read: No such file or directory)" in failure_note("x", tmp_path / "logs" / "none.log")
    long = "x" * 5000 + "\n" + "`" * 9
    (tmp_path / "long.log").write_text(long)
    note = failure_note("x", tmp_path / "long.log")
    with bench(tmp_path, SPACE, Failing()) as run:
        trial = run.study.optuna.ask()
        run.study.storage.add_note(trial.number, note)
    assert recorded_note(studied(run.study_dir), 0) == note
    assert long in note and note.endswith("\n" + "`" * 10 + "\n")


def test_a_note_of_the_user_is_not_overwritten(tmp_path: Path) -> None:
    def write(job: Job) -> None:
        study = studied(StudyDirectory(tmp_path / "study"))
        save_note(optuna.Trial(study, study.trials[job.number]._trial_id), "mine")

    with bench(tmp_path, SPACE, Failing(write)) as run:
        run.search.run()
        memory = run.study.storage.get_study_system_attrs(run.study.optuna._study_id)
        assert not any("note" in key for key in memory)
    study = studied(run.study_dir)
    assert recorded_note(study, number_of_failed(study)) == "mine"


def invoked(study_dir: StudyDirectory, *arguments: str) -> BaseException | None:
    command = ["dashboard", "--out", str(study_dir.directory.parent), *arguments]
    return CliRunner().invoke(app, command).exception


def test_a_missing_dashboard_extra_is_an_error_with_the_install_command(
    study_dir: StudyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    error = invoked(study_dir)
    assert isinstance(error, InputError) and error.exit_code == 2
    assert str(error) == 'optuna-dashboard is not installed: pip install "optuna-dashboard>=0.18"'


def test_a_port_in_use_is_an_error(study_dir: StudyDirectory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        error = invoked(study_dir, "--port", str(other.getsockname()[1]))
    assert isinstance(error, InputError) and "Address already in use" in str(error)


def test_a_missing_study_is_an_error(study_dir: StudyDirectory) -> None:
    assert isinstance(invoked(study_dir, "nope"), StudyNotFoundError)
