"""The benchmark of everything on a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.benchmark import run_benchmark


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
@pytest.mark.parametrize("benchmark", ["gpu", "gpu_checks"])
def test_a_missing_gpu_is_an_error_with_a_remedy(tmp_path: Path, benchmark: str) -> None:
    done = run_benchmark(benchmark, cwd=tmp_path)
    assert done.returncode == 2 and not done.stdout
    assert "no CUDA GPU" in done.stderr and "--device cpu" in done.stderr and "Traceback" not in done.stderr


def test_the_checks_of_a_gpu_run_on_the_cpu_and_end_in_time(tmp_path: Path) -> None:
    small = ["train_batch_size=64", "hidden_size=8", "inner_size=8", "user_inter_num_interval=[20,24]"]
    sets = [part for one in small for part in ("--set", one)]
    command = ["--device", "cpu", "--steps", "1", "--seconds", "1", *sets, "--json", "found.json"]
    done = run_benchmark("gpu_checks", *command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "| loss and gradients | right |" in done.stdout and "waits: no time is left" in done.stderr
    assert "the CPU" in done.stdout.splitlines()[0]
