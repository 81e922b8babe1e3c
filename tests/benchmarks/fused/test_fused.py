"""The benchmark of fused trials."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.benchmark import TINY, run_benchmark


def test_fused_trials_have_the_losses_of_single_ones(tmp_path: Path) -> None:
    counts = ["--trials", 3, "--steps", 2, "--threads", 1, "--device", "cpu", "--layers", 1]
    done = run_benchmark("fused.fused", *counts, "--markdown", "table.md", *TINY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert result["trials"] == 3 and result["loss_difference"] < 1e-5 and result["epoch_ratio"] > 0
    assert [len(samples) for samples in result["samples"].values()] == [2, 2]
    header, rule, row = (line.count("|") for line in (tmp_path / "table.md").read_text().splitlines())
    assert header == rule == row
