"""The names of --gpus, within the GPUs that the environment leaves."""

from __future__ import annotations

import pytest

from sasrecf_tune.errors import InputError
from sasrecf_tune.executors import visible_gpus as module
from sasrecf_tune.executors.visible_gpus import VARIABLE, first_gpu, visible_gpus
from sasrecf_tune.inputs.option_values import parse_gpus

MIG = "MIG-3b1d3c8a-29d6-5ae4-9c3a-1f7d6bb0e0aa"
OLD_MIG = "MIG-GPU-8932f937-d72c-4106-c12f-20bd9faed9f6/7/0"
UUID = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"


@pytest.fixture(autouse=True)
def unknown_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not count the GPUs of this machine."""
    monkeypatch.setattr(module, "count_gpus", lambda: None)


@pytest.mark.parametrize(
    ("gpus", "inherited", "names"),
    [
        ("0", "2,3", ("2",)),
        ("1,0", "2,3", ("3", "2")),
        ("0,0", " 2 , 3 ", ("2", "2")),
        ("0", f"{MIG},{UUID}", (MIG,)),
        ("1", f"{MIG},{UUID}", (UUID,)),
        ("1", OLD_MIG + ",5", ("5",)),
        (UUID, "2,3", (UUID,)),
        (f"{MIG},{OLD_MIG}", "0", (MIG, OLD_MIG)),
        ("0", "3,-1,2", ("3",)),
        ("0", "3,NoDevFiles", ("3",)),
        ("none", "2,3", ("",)),
        ("none", "", ("",)),
        ("auto", "2,3", ()),
    ],
)
def test_an_index_counts_the_visible_gpus(gpus: str, inherited: str, names: tuple[str, ...]) -> None:
    assert visible_gpus(parse_gpus(gpus), inherited) == names


@pytest.mark.parametrize(
    ("gpus", "inherited", "message"),
    [
        ("2", "2,3", r"CUDA_VISIBLE_DEVICES=2,3 leaves 2 GPUs\n.*use 0, 1\."),
        ("1", MIG, r"leaves 1 GPU\n.*use 0\."),
        ("1", "3,-1,2", "leaves 1 GPU"),
        ("0", "", "leaves no GPUs\nunset CUDA_VISIBLE_DEVICES, or use --gpus none"),
        ("0", "-1", "leaves no GPUs"),
        ("0", "NoDevFiles", "leaves no GPUs"),
    ],
)
def test_an_index_beyond_the_visible_gpus_is_refused(gpus: str, inherited: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        visible_gpus(parse_gpus(gpus), inherited)
    assert caught.value.where == f"--gpus {gpus}"


@pytest.mark.parametrize(
    ("gpus", "inherited", "where"),
    [("0,7", None, "--gpus 7"), ("2", None, "--gpus 2"), ("1", "0,7", VARIABLE), ("0", "7", VARIABLE)],
)
def test_a_gpu_that_does_not_exist_is_refused_before_a_worker_starts(
    gpus: str, inherited: str | None, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(module, "count_gpus", lambda: 2)
    with pytest.raises(InputError, match=r"there is no GPU [27]: this machine has 2") as caught:
        visible_gpus(parse_gpus(gpus), inherited)
    assert caught.value.where == where
    assert visible_gpus(parse_gpus(f"0,1,{UUID}"), inherited=None) == ("0", "1", UUID)


def test_the_environment_of_this_process_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert visible_gpus(("1", UUID)) == ("1", UUID) and first_gpu() == "0"
    monkeypatch.setenv(VARIABLE, f"{MIG},4")
    assert visible_gpus(("1",)) == ("4",) and first_gpu() == MIG


@pytest.mark.parametrize("text", ["first", "0;1", "-1", "GPU-", "gpu-8932f937", "MIG", "0,", "cuda:0", "²"])
def test_what_names_no_gpu_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"Use auto, none, indices such as 0,1, or names"):
        parse_gpus(text)
