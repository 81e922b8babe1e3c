"""`run --log` and `resume` on the command line."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from sasrecf_tune.environment import install_command
from sasrecf_tune.errors import InputError
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.manifest import settings_content, settings_from, write_manifest
from sasrecf_tune.tracking.trackers import check_trackers
from tests.support.bench import bench, quality
from tests.support.command_line import Cli, Running
from tests.support.event_files import read_events
from tests.support.fake_training import FakeTraining
from tests.support.tiny import TINY

SPACE = "learning_rate choice [0.01, 0.001]\n"
BENCH_SPACE = SPACE + "n_layers choice [1]\n"
TINY_OPTIONS = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_missing_library_is_told_before_any_work(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "lr.test").write_text(SPACE)
    monkeypatch.setitem(sys.modules, name, None)
    for more in ((), ("--dry-run",)):
        result = cli("run", "--params-file", "lr.test", "--log", name, *more)
        assert result.returncode == 2 and f"--log {name}: " in result.stderr
        assert "is not installed" in result.stderr and install_command(extra=name) in result.stderr
    assert not (tmp_path / "tuning").exists()


def test_an_unknown_tracker_is_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "lr.test").write_text(SPACE)
    result = cli("run", "--params-file", "lr.test", "--log", "mlfow")
    assert result.returncode == 2
    assert "invalid `--log` value 'mlfow': did you mean `mlflow`?" in result.stderr


def test_all_missing_libraries_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError) as error:
        check_trackers(["mlflow", "wandb", "mlflow"])
    assert len(error.value.mistakes) == 2


def test_the_runs_continue_after_the_coordinator_was_killed(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "lr.test").write_text(SPACE)
    options = ["--params-file", "lr.test", "--study", "killed", "--log", "tensorboard", *TINY_OPTIONS]
    running = Running(tmp_path, "run", *options)
    running.until("reported", trial=1)
    os.kill(running.process.pid, signal.SIGKILL)
    running.process.wait()
    study = StudyDirectory(tmp_path / "tuning" / "killed")
    assert settings_from(study)[0].log == ["tensorboard"]
    result = cli("resume", "killed")
    assert result.returncode == 0, result.stderr
    for number in range(2):
        run = read_events(study.tensorboard / f"trial-{number:04d}")
        assert [step for step, _ in run.curves["valid/mrr@10"]] == [1, 2]
        assert [step for step, _ in run.curves["train_loss"]] == [1, 2]
        assert run.texts["state"][-1] == (2, "complete")
    assert read_events(study.tensorboard / "study").texts["state"] == [(2, "complete: 2 complete")]


def test_a_deleted_study_leaves_no_event_files(tmp_path: Path, cli: Cli) -> None:
    with bench(tmp_path / "tuning", BENCH_SPACE, FakeTraining(quality), log=["tensorboard"]) as one:
        one.search_and_log()
        write_manifest(one.study_dir, settings_content(one.plan.settings, one.plan.space, None))
    result = cli("studies", "--delete", "study", "--yes")
    assert result.returncode == 0, result.stderr
    assert not (tmp_path / "tuning" / "study").exists()


def test_a_password_in_an_address_that_mlflow_cannot_use_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "htp://user:secret@host")
    with bench(tmp_path, BENCH_SPACE, FakeTraining(quality), log=["mlflow"]) as one:
        one.search_and_log()
        assert one.messages[0].startswith("cannot log to mlflow: ")
        assert "user:***@host" in one.messages[0] and "secret" not in str(one.messages)
