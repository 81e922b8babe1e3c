"""The benchmark of how a search scales."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.benchmark import run_benchmark


def test_each_step_is_timed_at_each_number_of_trials(tmp_path: Path) -> None:
    counts = ["--marks", "20,40", "--workers", 6, "--window", 4]
    done = run_benchmark("search.scale", "study", *counts, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["trials"], row["running"]) for row in rows] == [(20, 6), (40, 6)]
    steps = ("open_s", "ask_ms", "report_ms", "tell_ms")
    assert all(row[step] >= 0 for row in rows for step in steps) and rows[0]["tell_ms"] > 0
