"""Links and devices in a study directory, which may come from someone else, lead a run nowhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sasrecf_tune.cli.session import open_session
from sasrecf_tune.errors import StorageError
from sasrecf_tune.executors.ray.file_sync import FileChanges, apply_changes
from sasrecf_tune.executors.worker import _redirect_output
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.files import append_line
from sasrecf_tune.storage.lock import exclusive
from sasrecf_tune.training import torch_files

CONTENT = "somebody's own file\n"


def lock(path: Path) -> None:
    with exclusive(StudyDirectory(path.parent)):
        pass


def add_log(path: Path) -> None:
    apply_changes(StudyDirectory(path.parents[1]), FileChanges({path.name: b"x"}))


WRITERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "lock": ("study.lock", lock),
    "table": ("trials.csv", lambda path: append_line(path, "x\n")),
    "log of a worker": ("logs/worker-0.log", _redirect_output),
    "log from a node": ("logs/trial-0000.log", add_log),
    "checkpoint": (
        "checkpoints/.trial-0000.resume.part",
        lambda p: torch_files.save(p.parent / p.name[1:-5], 1),
    ),
}


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine"
    path.write_text(CONTENT)
    return path


@pytest.mark.parametrize("kind", WRITERS)
def test_a_link_is_not_followed(kind: str, mine: Path, tmp_path: Path) -> None:
    name, write = WRITERS[kind]
    path = tmp_path / "study" / name
    path.parent.mkdir(parents=True)
    path.symlink_to(mine)
    with pytest.raises((StorageError, OSError), match="link"):
        write(path)
    assert mine.read_text() == CONTENT


@pytest.mark.parametrize("kind", ["lock", "table", "log of a worker"])
def test_a_fifo_is_not_waited_for(kind: str, tmp_path: Path) -> None:
    name, write = WRITERS[kind]
    path = tmp_path / "study" / name
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    with pytest.raises(StorageError, match="not a regular file"):
        write(path)


def settings(out: Path) -> RunSettings:
    return RunSettings(
        params_file=Path("hyper.test"), base={}, name="study", out=out, metric=parse_metric("MRR@10")
    )


@pytest.mark.parametrize("name", ["logs", "checkpoints/trial-0000.pth", "best.yaml"])
def test_a_run_refuses_a_study_directory_with_links(name: str, mine: Path, tmp_path: Path) -> None:
    path = tmp_path / "study" / name
    path.parent.mkdir(parents=True)
    path.symlink_to(mine if path.suffix else tmp_path)
    with (
        pytest.raises(StorageError, match="leads elsewhere") as caught,
        open_session(settings(tmp_path), StudyDirectory(tmp_path / "study")),
    ):
        pass
    assert str(path) in str(caught.value) and mine.read_text() == CONTENT


def test_a_study_directory_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "study").symlink_to(tmp_path / "elsewhere")
    study_dir = StudyDirectory(tmp_path / "study")
    with exclusive(study_dir):
        append_line(study_dir.trials, "x\n")
    assert (tmp_path / "elsewhere" / "trials.csv").read_text() == "x\n"
