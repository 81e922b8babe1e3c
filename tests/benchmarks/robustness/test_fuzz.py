"""The fuzzing of `check`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.benchmark import run_benchmark


def test_300_generated_inputs_give_no_traceback(tmp_path: Path) -> None:
    done = run_benchmark("robustness.fuzz", "--examples", 300, "--builds", 10, "--seed", 7, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["generated"] == 300 == result["accepted"] + result["refused"]
    assert result["accepted"] > 60 and result["refused"] > 60 and result["built"] >= 8
    assert result["tracebacks"] == 0
    assert not list(tmp_path.iterdir())
