"""The simulation of confirmations."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.benchmark import run_benchmark


def test_the_error_rate_of_confirmations_is_as_stated(tmp_path: Path) -> None:
    options = ["--studies", 300, "--configurations", 3, "--seeds", 5, "--ahead", 4]
    done = run_benchmark("search.confirmation", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rates"]
    # 300 draws at 5%: more than 9% has a probability below one in a thousand; the draws are always the same.
    assert 0.01 < row["equal"]["any_called_worse"] < 0.09
    assert row["better"][0]["called_best"] > 0.95
