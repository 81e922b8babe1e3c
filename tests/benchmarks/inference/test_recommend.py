"""The benchmark of recommendations."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.benchmark import TINY, run_benchmark


def test_both_recommend_for_all_users(tmp_path: Path) -> None:
    options = ["--layers", 1, "--repeats", 1, "--threads", 1, "--json", "r.json", *TINY]
    done = run_benchmark("inference.recommend", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("| data | layers | users |")
    [row] = json.loads((tmp_path / "r.json").read_text())
    assert row["users"] > 50 and min(row["seconds"]) > 0 and len(row["turns"]) == 1
