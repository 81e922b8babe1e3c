"""The benchmark of everything on a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.benchmark import run_benchmark


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
def test_a_missing_gpu_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    done = run_benchmark("gpu", cwd=tmp_path)
    assert done.returncode == 2 and not done.stdout
    assert "no CUDA GPU" in done.stderr and "--device cpu" in done.stderr and "Traceback" not in done.stderr
