"""What a worker on another machine does with files: those it is given, sends, and leaves behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from sasrecf_tune.errors import DataError, StorageError, WorkerError
from sasrecf_tune.executors.ray import shipped_dataset
from sasrecf_tune.executors.ray.file_sync import FileChanges, FileSync, apply_changes
from sasrecf_tune.executors.ray.node import NodeOptions, NodeWorker
from sasrecf_tune.executors.ray.run_directory import run_directory
from sasrecf_tune.executors.ray.shipped_dataset import ShippedDataset, ship_dataset, unpack_dataset
from sasrecf_tune.inputs.dataset_files import DatasetFiles, fingerprint
from sasrecf_tune.messages import Decision, Job, Report, Result
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.per_user_files import per_user_file
from tests.support import synthetic_data


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The node's directory for temporary files."""
    path = tmp_path / "temporary"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    return path


def test_changes_of_files_are_copied(tmp_path: Path) -> None:
    there, home = StudyDirectory(tmp_path / "there"), StudyDirectory(tmp_path / "home")
    home.directory.mkdir()
    for directory in (there.logs, there.checkpoints):
        directory.mkdir(parents=True)
    sync = FileSync(there)
    assert sync.collect() == FileChanges()
    there.log(1).write_text("one\n")
    (there.checkpoints / ".trial-0001.pth.part").write_text("half")
    apply_changes(home, sync.collect())
    with there.log(1).open("a") as log:
        log.write("two\n")
    there.unfinished(1).write_text("state")
    changes = sync.collect()
    assert changes == FileChanges({there.log(1).name: b"two\n"}, {there.unfinished(1).name: b"state"})
    apply_changes(home, changes)
    assert sync.collect() == FileChanges()
    there.per_user_directory.mkdir()
    path = per_user_file(there.per_user(1), "test")
    path.write_text("user")
    apply_changes(home, sync.collect())
    assert sync.collect() == FileChanges()
    assert [copy.name for copy in home.per_user_directory.iterdir()] == [path.name]
    assert home.log(1).read_text() == "one\ntwo\n"
    assert [path.name for path in home.checkpoints.iterdir()] == [home.unfinished(1).name]
    # The trial is trained here once more.
    sync.delete([there.log(1), there.unfinished(1)])
    there.log(1).write_text("again\n")
    apply_changes(home, sync.collect())
    assert home.log(1).read_text() == "one\ntwo\nagain\n"


def test_a_removed_study_directory_is_not_created_again(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"logs.*: cannot write"):
        apply_changes(StudyDirectory(tmp_path / "gone"), FileChanges({"trial-0001.log": b"text"}))


def test_data_is_unpacked_once_and_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped_dataset, "_PIECE_BYTES", 100)
    home = DatasetFiles(synthetic_data.NAME, synthetic_data.write_data_set(tmp_path) / synthetic_data.NAME)
    pieces: list[bytes] = []

    def put(piece: bytes) -> int:
        pieces.append(piece)
        return len(pieces) - 1

    fetched: list[int] = []

    def fetch(reference: int) -> bytes:
        fetched.append(reference)
        return pieces[reference]

    shipped = ship_dataset(home, put)
    assert len(pieces) > 10
    for _ in range(2):
        unpack_dataset(shipped, tmp_path / "data", fetch)
    assert fetched == list(range(len(pieces)))
    there = DatasetFiles(synthetic_data.NAME, tmp_path / "data" / synthetic_data.NAME)
    assert fingerprint(there) == fingerprint(home)


def test_run_directories_are_deleted_including_those_of_killed_runs(temporary: Path) -> None:
    with run_directory("one") as first, run_directory("one") as same:
        assert first == same
        (first / "file").touch()
        parent = first.parent
        (parent / "killed").mkdir()
        (parent / "killed.lock").touch()
        with run_directory("two") as second:
            assert sorted(path.name for path in parent.iterdir()) == ["one", "one.lock", "two", "two.lock"]
        assert not second.exists() and first.exists()
    assert list(parent.iterdir()) == []
    parent.chmod(0o777)
    with pytest.raises(StorageError, match="other users can write to it"), run_directory("three"):
        pass


def test_errors_name_paths_of_the_coordinator(tmp_path: Path) -> None:
    home, data = StudyDirectory(tmp_path / "study"), ShippedDataset("mine", Path("/home/me/mine"), {})
    options = NodeOptions("run", 3, home, 1, None, "nowhere:nothing", share=False, data=data)
    worker = NodeWorker(options, "10.0.0.3-abc", (), lambda _: b"")
    assert worker.start().node == "10.0.0.3-abc"
    there = worker._data / "mine" / "mine.inter"
    assert (
        str(worker._translate(DataError("empty", where=f"{there}:1"))) == "/home/me/mine/mine.inter:1: empty"
    )
    log = worker._study_dir.worker_log(0)
    translated = worker._translate(WorkerError("the worker died", fix=f"Its log: {log}"))
    assert str(translated) == f"the worker died (on node 10.0.0.3-abc)\nIts log: {home.worker_log(3)}"
    worker.stop()
    assert not there.parent.exists()


def test_the_checkpoint_of_a_paused_trial_travels_to_another_node(tmp_path: Path) -> None:
    home = StudyDirectory(tmp_path / "study")
    home.directory.mkdir()
    job = Job(0, {}, "fast", home.log(0), home.checkpoint(0), home.unfinished(0))

    def train(index: int, *decisions: Decision) -> tuple[Result, list[list[str]]]:
        """Train on a node of its own; returns also which checkpoints it has sent with each report."""
        runner = "tests.support.fake_runner:Keeping"
        worker = NodeWorker(
            NodeOptions("run", index, home, 1, None, runner, share=False), f"n{index}", (), bytes
        )
        worker.start()
        content = home.unfinished(0).read_bytes() if home.unfinished(0).exists() else None
        sent: list[list[str]] = []
        answers = list(decisions)
        reply = worker.train([(job, content)])
        while not isinstance(reply.message, Result):
            decide = isinstance(reply.message, Report)
            reply = worker.decide(answers.pop(0)) if decide else worker.listen()
            if isinstance(reply.message, Report):
                sent.append(list(reply.changes.checkpoints))
            apply_changes(home, reply.changes)
        worker.stop()
        return reply.message, sent

    paused, _ = train(0, Decision.PAUSE)
    assert paused.decision is Decision.PAUSE and home.unfinished(0).read_text() == "epoch 1"
    ended, sent = train(1, *[Decision.CONTINUE] * 3)
    assert ended.decision is Decision.CONTINUE and home.checkpoint(0).exists()
    assert "continues from epoch 1" in home.log(0).read_text()
    assert sent[0] == [] and sent[1] == ["trial-0000.resume"]  # not the one that the node was given
