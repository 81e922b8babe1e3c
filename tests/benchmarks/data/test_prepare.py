"""The benchmark of preparations runs and prints its figures."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.benchmark import run_benchmark


def test_it_prints_seconds_memory_and_functions(tmp_path: Path) -> None:
    sizes = ["--rows", 500, "--users", 20, "--items", 9]
    done = run_benchmark("data.prepare", *sizes, "--functions", 3, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["rows"] == 500 and figures["peak_gb"] > 0 and figures["samples"] == [440, 20, 20]
    assert "prepare" in done.stderr
