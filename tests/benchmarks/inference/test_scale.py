"""The benchmark of recommendations for many users."""

from __future__ import annotations

from pathlib import Path

from tests.support.benchmark import run_benchmark


def test_memory_and_time_are_printed(tmp_path: Path) -> None:
    done = run_benchmark("inference.scale", "--users", 50, "--items", 60, "--threads", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "50 users, 60 items: " in done.stdout and done.stdout.endswith(" GB\n")
