"""Data that one worker prepares and all workers map."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch

from sasrecf_tune.engine.fast.build import FAST
from sasrecf_tune.engine.recbole import RECBOLE_ENGINE, Engine, Prepared, make_config, prepare
from sasrecf_tune.messages import Decision, Job, Result, Waiting
from sasrecf_tune.storage.files import private_directory
from sasrecf_tune.training.runner import Runner
from sasrecf_tune.training.shared_cache import SharedCache
from tests.support.synthetic_data import base, write_data_set


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data_set(tmp_path_factory.mktemp("data"))


class Counted:
    """Makes a tensor, and counts how often."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> dict[str, torch.Tensor]:
        self.count += 1
        return {"numbers": torch.arange(1000)}


def test_an_object_is_created_once_per_key(tmp_path: Path) -> None:
    make = Counted()
    for _ in range(3):
        shared: SharedCache[dict[str, torch.Tensor]] = SharedCache(tmp_path)  # as in another process
        assert torch.equal(shared.get("a", make)["numbers"], torch.arange(1000))
    assert make.count == 1
    shared.get("b", make)
    assert make.count == 2


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o707])
def test_a_directory_that_others_can_open_is_not_used(mode: int, tmp_path: Path) -> None:
    tmp_path.chmod(mode)
    make = Counted()
    for _ in range(2):
        SharedCache[dict[str, torch.Tensor]](tmp_path).get("a", make)
    assert make.count == 2 and not list(tmp_path.iterdir())


def test_a_link_to_a_directory_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    SharedCache[dict[str, torch.Tensor]](tmp_path / "link").get("a", Counted())
    assert not list((tmp_path / "real").iterdir())


def test_files_of_a_directory_that_was_put_in_its_place_are_not_read(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "prepared", tmp_path / "theirs"
    for directory, value in ((ours, 1), (theirs, 2)):
        directory.mkdir(mode=0o700)
        SharedCache[int](directory).get("a", lambda value=value: value)  # type: ignore[misc]
    cache = SharedCache[int](ours)
    ours.rename(tmp_path / "moved")
    theirs.rename(ours)
    assert cache.get("a", lambda: 3) == 1


def test_changes_of_one_worker_are_private(tmp_path: Path) -> None:
    make = Counted()
    one, two = (SharedCache[dict[str, torch.Tensor]](tmp_path).get("a", make) for _ in range(2))
    one["numbers"].add_(5)
    three = SharedCache[dict[str, torch.Tensor]](tmp_path).get("a", make)
    for other in (two, three):
        assert torch.equal(other["numbers"], torch.arange(1000))
    assert make.count == 1


def killed_while_making(directory: Path) -> None:
    SharedCache[None](directory).get("a", lambda: os.kill(os.getpid(), signal.SIGKILL))


def test_another_process_takes_over_from_a_killed_one(tmp_path: Path) -> None:
    process = get_context("fork").Process(target=killed_while_making, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    make = Counted()
    assert len(SharedCache[dict[str, torch.Tensor]](tmp_path).get("a", make)["numbers"]) == 1000
    assert make.count == 1


def test_waiting_is_reported(tmp_path: Path) -> None:
    said: list[Waiting] = []
    SharedCache[int](tmp_path, said.append).get("a", lambda: 1)
    SharedCache[int](tmp_path, said.append).get("a", lambda: 1)
    assert said == []  # nobody was waited for
    (lock,) = (os.open(path, os.O_RDWR) for path in tmp_path.glob("*.lock"))
    fcntl.flock(lock, fcntl.LOCK_EX)

    def tell(waiting: Waiting) -> None:
        said.append(waiting)
        if not waiting.over:
            os.close(lock)  # the other has prepared it

    assert SharedCache[int](tmp_path, tell).get("a", lambda: 1) == 1
    assert said == [Waiting(over=False), Waiting(over=True)]


def no_directory(path: Path) -> None:
    path.rmdir()


def a_directory_in_place_of_the_file(path: Path) -> None:
    # As a full disk does, this lets the lock be made, but not the file.
    SharedCache[int](path).get("a", lambda: 1)
    (file,) = path.glob("*.pt")
    file.unlink()
    (path / f".{file.name}.part").mkdir()


def a_damaged_file(path: Path) -> None:
    SharedCache[int](path).get("a", lambda: 1)
    (file,) = path.glob("*.pt")
    file.write_bytes(b"")


@pytest.mark.parametrize("refuse", [no_directory, a_directory_in_place_of_the_file, a_damaged_file])
def test_each_process_uses_its_own_object_if_files_fail(
    tmp_path: Path, refuse: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "shared"
    directory.mkdir(mode=0o700)
    refuse(directory)
    make = Counted()
    for _ in range(2):
        shared: SharedCache[dict[str, torch.Tensor]] = SharedCache(directory)
        assert torch.equal(shared.get("a", make)["numbers"], torch.arange(1000))
    assert make.count == 2
    assert caplog.text.count("by this worker only") == 2


def test_an_error_of_make_is_raised(tmp_path: Path) -> None:
    def fail() -> int:
        raise LookupError("no such data")

    shared: SharedCache[int] = SharedCache(tmp_path)
    with pytest.raises(LookupError):
        shared.get("a", fail)
    assert shared.get("a", lambda: 3) == 3


def columns(prepared: Prepared) -> list[dict[str, torch.Tensor]]:
    sets = (prepared.dataset, *prepared.splits)
    return [dict(each.inter_feat.interaction) for each in sets] + [
        dict(prepared.dataset.item_feat.interaction)
    ]


@pytest.mark.parametrize("engine", [RECBOLE_ENGINE, FAST], ids=["recbole", "fast"])
def test_mapped_data_is_equal_to_prepared_data(
    data: Path, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = make_config(base(data))
    made = prepare(config, engine)
    mapped = SharedCache[Prepared](tmp_path).get("a", lambda: made)
    assert mapped is not made
    for ours, theirs in zip(columns(mapped), columns(made), strict=True):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("engine", ["recbole", "fast"])
@pytest.mark.parametrize("loss_type", ["CE", "BPR"])
def test_shared_data_gives_the_same_results(
    data: Path,
    tmp_path: Path,
    engine: str,
    loss_type: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "sasrecf_tune")
    changes: dict[str, Any] = {"loss_type": loss_type, "hidden_dropout_prob": 0.5}
    changes |= {"train_batch_size": 128, "n_layers": 1, "epochs": 1}
    if loss_type == "BPR":
        changes["train_neg_sample_args"] = {"distribution": "uniform", "sample_num": 1}
    # RecBole sorts the data that it evaluates so.
    split = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "uni20", "group_by": "user"}
    config = base(data) | changes | {"eval_args": split}
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o700)
    results = []
    for runner in (Runner(""), Runner("", shared), Runner("", shared)):
        for number in (0, 1):  # the second has the data as the first left it
            checkpoint = tmp_path / "checkpoints" / f"{number}.pth"
            checkpoint.parent.mkdir(exist_ok=True)
            job = Job(number, config, engine, tmp_path / "log", checkpoint)
            result = runner.train(job, lambda _: Decision.CONTINUE)
            assert isinstance(result, Result), result
            weights = torch.load(checkpoint, weights_only=True)["state_dict"]
            results.append((result.curve, result.valid, result.test, weights["item_embedding.weight"].sum()))
    assert len(results) == 6 and all(result == results[0] for result in results)
    assert caplog.text.count("prepared for all workers") == 1


def test_a_private_directory_is_empty_and_deleted_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "study" / ".prepared"
    path.mkdir(parents=True)
    (path / "left by a run that was killed").touch()
    with private_directory(path) as directory:
        assert directory == path and list(path.iterdir()) == []
        assert path.stat().st_mode & 0o777 == 0o700
        (path / "file").touch()
    assert not path.exists()


def test_files_that_may_belong_to_others_are_not_used(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    link = tmp_path / "link"
    link.symlink_to(elsewhere)
    with private_directory(link) as directory:
        assert directory is None
    assert (elsewhere / "file").exists()
