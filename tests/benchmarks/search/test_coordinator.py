"""The benchmark of the coordinator."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.benchmark import run_benchmark


def test_a_search_without_training_is_timed(tmp_path: Path) -> None:
    counts = ["--trials", 60, "--reports", 2, "--workers", 2, "--sampler", "random"]
    done = run_benchmark("search.coordinator", *counts, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["trials"] == 60 and result["seconds"] > 0
    assert list(result["milliseconds_per_trial"]) == ["35"]
    assert not list(tmp_path.iterdir())
