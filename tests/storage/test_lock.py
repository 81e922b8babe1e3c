"""A study directory belongs to one run, or to several with a database server."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from sasrecf_tune import environment as machine
from sasrecf_tune.errors import InputError, StorageError, TuneError, WorkerError
from sasrecf_tune.storage import lock
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.lock import abandoned, exclusive, shared


def test_only_one_run_can_lock_a_study(study_dir: StudyDirectory) -> None:
    with (
        exclusive(study_dir),
        pytest.raises(StorageError, match=r"another run is using this study(.|\n)*--storage postgresql://"),
        exclusive(study_dir),
    ):
        pass
    with exclusive(study_dir):
        pass


def test_runs_share_a_directory_only_with_a_database_server(
    study_dir: StudyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_TIDY_SECONDS", 0.0)
    tidied: list[int] = []
    first, second = (shared(study_dir, partial(tidied.append, number)) for number in (1, 2))
    with first, second, pytest.raises(StorageError, match="another run"), exclusive(study_dir):
        pass
    assert tidied == [1]
    third = shared(study_dir, partial(tidied.append, 3))
    with exclusive(study_dir), pytest.raises(StorageError, match="the same --storage"), third:
        pass
    assert tidied == [1]


def test_a_file_system_without_locks_requires_a_database_server(
    study_dir: StudyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", unsupported)
    tidied: list[int] = []
    with (
        shared(study_dir, partial(tidied.append, 1)),
        shared(study_dir, partial(tidied.append, 2)),
    ):
        assert tidied == [1, 2]
    with (
        pytest.raises(StorageError, match=r"does not support locks \(flock: Function not implemented\)"),
        exclusive(study_dir),
    ):
        pass


def test_a_lock_lost_while_becoming_shared_is_acquired_again(
    study_dir: StudyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    flock = fcntl.flock

    def lost_once(handle: int, kind: int) -> None:
        asked.append(kind)
        if len(asked) == 2:  # as if another had come between: the system does not go from one to the other
            flock(handle, fcntl.LOCK_UN)
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        flock(handle, kind)

    monkeypatch.setattr("fcntl.flock", lost_once)
    tidied: list[int] = []
    with shared(study_dir, partial(tidied.append, 1)):
        monkeypatch.undo()
        with pytest.raises(StorageError, match="another run"), exclusive(study_dir):
            pass
    assert tidied == [1] and asked[-1] == fcntl.LOCK_SH | fcntl.LOCK_NB


def test_cleanup_removes_only_files_of_dead_runs(study_dir: StudyDirectory) -> None:
    other = subprocess.Popen(["true"])
    other.wait()
    made = {
        mark: replace(study_dir, coordinator=mark).prepared
        for mark in (
            machine.process_name(),
            f"{machine.host_name()}-{other.pid}",
            "elsewhere-7",
            "elsewhere-8",
        )
    }
    files = [study_dir.checkpoints / ".trial-0001.pth.part", study_dir.checkpoints / ".trial-0002.pth.part"]
    study_dir.checkpoints.mkdir()
    for path in made.values():
        path.mkdir()
    for path in files:
        path.touch()
    for path in (made["elsewhere-8"], files[1]):
        os.utime(path, (0, 0))
    gone = abandoned(study_dir, study_dir.leftovers())
    assert set(gone) == {made[f"{machine.host_name()}-{other.pid}"], made["elsewhere-8"], files[1]}


def test_invalid_input_leaves_no_study_directory(tmp_path: Path) -> None:
    def refused(study_dir: StudyDirectory, error: TuneError, *files: str) -> None:
        with pytest.raises(type(error)), exclusive(study_dir):
            for file in ("logs/worker-0.log", *files):
                (study_dir.directory / file).parent.mkdir(exist_ok=True)
                (study_dir.directory / file).touch()
            raise error

    refused(StudyDirectory(tmp_path / "a" / "b" / "study"), InputError("no data"))
    assert not list(tmp_path.iterdir())
    # The log of a worker that crashed is referred to; a study, and what someone else put there, is not ours.
    kept: list[tuple[TuneError, str]] = [
        (WorkerError("it crashed"), "logs/worker-0.log"),
        (InputError("another space"), "study.db"),
        (InputError("another space"), "manifest.json"),
        (InputError("no data"), "notes.txt"),
    ]
    for number, (error, file) in enumerate(kept):
        study_dir = StudyDirectory(tmp_path / str(number))
        refused(study_dir, error, file)
        assert (study_dir.directory / file).exists()
    (tmp_path / "mine").mkdir()
    refused(StudyDirectory(tmp_path / "mine"), InputError("no data"))
    assert (tmp_path / "mine" / "study.lock").exists()
