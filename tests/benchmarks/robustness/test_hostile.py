"""The campaign of hostile studies and inputs."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.benchmark import run_benchmark


def test_100_hostile_cases_do_nothing(tmp_path: Path) -> None:
    done = run_benchmark("robustness.hostile", "--cases", 100, "--seed", 3, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    kinds = result.pop("cases")
    assert len(kinds) == 10 and sum(kinds.values()) == 100
    assert not any(value for key, value in result.items() if key not in ("seed", "seconds"))
    assert not list(tmp_path.iterdir())
