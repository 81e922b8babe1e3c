"""Errors of a GPU: which of them mean that memory has run out, and which that the GPU is lost."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from sasrecf_tune.engine.fast.trainer import FastTrainer
from sasrecf_tune.engine.fused.trainer import FusedTrainer
from sasrecf_tune.errors import DataError
from sasrecf_tune.messages import Decision, Failure, FailureKind, Job, Measure, MeasureFusion, Result
from sasrecf_tune.search.retry_policy import should_retry
from sasrecf_tune.training import runner
from sasrecf_tune.training.failure_reason import FusedTrialsError, failure_kind, gpu_is_lost, is_memory
from sasrecf_tune.training.runner import Runner
from tests.support.fake_gpu import fake_gpu
from tests.support.fused_trials import together
from tests.support.synthetic_data import base, data, muted

__all__ = ["data", "muted"]

ADVICE = (
    "\nSearch for `cudaErrorIllegalAddress' in https://docs.nvidia.com/cuda/ for more information."
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below "
    "might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
)
ILLEGAL = f"CUDA error: an illegal memory access was encountered{ADVICE}"

NO_MEMORY = [
    torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of ..."
    ),
    torch.cuda.OutOfMemoryError("HIP out of memory. Tried to allocate 20.00 MiB"),
    torch.AcceleratorError(f"CUDA error: out of memory{ADVICE}"),
    RuntimeError("CUDA driver error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you"
    ),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried to"
    ),
    MemoryError("Unable to allocate 8.00 GiB for an array"),
]
LOST = [
    torch.AcceleratorError(ILLEGAL),
    RuntimeError("CUDA error: uncorrectable ECC error encountered"),
    RuntimeError("CUDA error: unspecified launch failure"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: misaligned address"),
    RuntimeError("CUDA error: the launch timed out and was terminated"),
    RuntimeError("CUDA error: unknown error"),
    RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable"),
    RuntimeError("CUDA driver error: an illegal instruction was encountered"),
    FusedTrialsError(RuntimeError(ILLEGAL), 3),
]
OTHERS = [
    RuntimeError("CUDA error: no kernel image is available for execution on the device"),
    RuntimeError("CUDA error: invalid configuration argument"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
    ValueError("an unknown error of the data"),
    DataError("column 'CUDA' has an unknown error"),
]


@pytest.mark.parametrize("error", NO_MEMORY, ids=str)
def test_memory_that_has_run_out(error: Exception) -> None:
    with fake_gpu():
        assert is_memory(error) and failure_kind(error) == FailureKind.MEMORY and not gpu_is_lost(error)


@pytest.mark.parametrize("error", LOST, ids=str)
def test_a_lost_gpu(error: Exception) -> None:
    with fake_gpu():
        assert gpu_is_lost(error) and not is_memory(error)


@pytest.mark.parametrize("error", OTHERS, ids=str)
def test_other_errors(error: Exception) -> None:
    with fake_gpu():
        assert not gpu_is_lost(error) and not is_memory(error)


def raise_error(error: Exception) -> None:
    raise error


def job(data: Path, directory: Path, number: int = 0, **changes: Any) -> Job:
    config = base(data) | {"epochs": 1, "seed": number} | changes
    return Job(number, config, "fast", directory / "log", directory / f"{number}.pth")


def trained(with_runner: Runner, one: Job) -> Result | Failure:
    return with_runner.train(one, lambda _: Decision.CONTINUE)


def runner_with_gpu(monkeypatch: pytest.MonkeyPatch) -> Runner:
    """A runner that has been given a GPU, but trains on the CPU: the fake GPU is limited to one thread."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # RecBole sets it; this restores it
    made = Runner("")
    made.gpu = "0"
    return made


def test_the_trial_that_meets_a_lost_gpu_is_tried_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FastTrainer, "_train_epoch", lambda *_, **__: raise_error(RuntimeError(ILLEGAL)))
    with fake_gpu():
        failure = trained(Runner("0"), job(data, tmp_path))
    assert isinstance(failure, Failure) and failure.kind == FailureKind.WORKER_DIED
    assert failure.reason == "the GPU failed: CUDA error: an illegal memory access was encountered"
    assert should_retry(failure, 0, retries=1) and not should_retry(failure, 1, retries=1)
    on_cpu = trained(Runner(""), job(data, tmp_path))
    assert isinstance(on_cpu, Failure) and on_cpu.kind == FailureKind.ERROR


@pytest.mark.parametrize(
    ("status", "kind"),
    [("EXECUTION_FAILED", FailureKind.ERROR), ("NOT_INITIALIZED", FailureKind.MEMORY)],
)
def test_an_error_in_other_words_is_tested_on_the_gpu(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, kind: FailureKind
) -> None:
    unclear = RuntimeError(f"CUDA error: CUBLAS_STATUS_{status} when calling `cublasSgemm(...)`")
    monkeypatch.setattr(FastTrainer, "_train_epoch", lambda *_, **__: raise_error(unclear))
    with fake_gpu(), monkeypatch.context() as patch:
        whole = trained(Runner("0"), job(data, tmp_path))
        patch.setattr(torch.cuda, "synchronize", lambda: raise_error(RuntimeError(ILLEGAL)))
        lost = trained(Runner("0"), job(data, tmp_path))
    assert isinstance(whole, Failure) and whole.kind == kind
    assert isinstance(lost, Failure) and lost.kind == FailureKind.WORKER_DIED
    assert lost.reason.startswith(f"the GPU failed: CUDA error: CUBLAS_STATUS_{status}")


def test_fused_trials_on_a_lost_gpu_are_tried_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FusedTrainer, "train_epoch", lambda *_: raise_error(RuntimeError(ILLEGAL)))
    outcomes = together(runner_with_gpu(monkeypatch), [job(data, tmp_path, number) for number in range(2)])
    for failure in outcomes.values():
        assert isinstance(failure, Failure) and failure.kind == FailureKind.WORKER_DIED
        assert failure.reason == "the GPU failed: CUDA error: an illegal memory access was encountered"


def test_memory_is_returned_once_a_trial_that_had_too_little_is_gone(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: list[weakref.ref[Any]] = []
    gone: list[bool] = []

    def no_memory(trainer: FastTrainer, *_: object, **__: object) -> float:
        models.append(weakref.ref(trainer.model))
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(FastTrainer, "_train_epoch", no_memory)
    with fake_gpu(), monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "empty_cache", lambda: gone.append(models[-1]() is None))
        failures = [trained(Runner("0"), job(data, tmp_path))]

    def collect() -> None:
        gc.collect()
        gone.append(models[-1]() is None)

    monkeypatch.setattr(runner, "release_memory", collect)
    failures += together(runner_with_gpu(monkeypatch), [job(data, tmp_path)]).values()  # with a hook
    assert [isinstance(each, Failure) and each.kind for each in failures] == [FailureKind.MEMORY] * 2
    assert gone == [True, True]


def test_memory_is_returned_after_a_measurement(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    returned: list[str] = []
    with fake_gpu(), monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "empty_cache", lambda: returned.append("all"))
        service = Runner("0")
        service.measure(Measure(base(data), "fast", 1))
        assert len(returned) == 1
        service.measure_fusion(MeasureFusion(base(data), "fast", 1, max_trials=2, min_gain=0))
        assert len(returned) == 2
