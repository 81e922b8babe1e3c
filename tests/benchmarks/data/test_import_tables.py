"""The benchmark of imports runs and prints its figures."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.benchmark import run_benchmark


def test_it_prints_seconds_and_memory(tmp_path: Path) -> None:
    done = run_benchmark("data.import_tables", "--rows", 500, "--users", 20, "--items", 9, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["rows"] == 500 and figures["seconds"] > 0 and figures["peak_gb"] > 0
