"""The benchmark of killed searches."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.benchmark import run_benchmark


def test_killed_searches_lose_no_trial(tmp_path: Path) -> None:
    scenarios = ["inline-fake", "local-fake", "inline-real"]
    chosen = [part for name in scenarios for part in ("--scenario", name)]
    done = run_benchmark("robustness.faults", "--kills", 6, *chosen, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["kills"] == 6
    assert [f"{row['executor']}-{row['trials']}" for row in result["rows"]] == scenarios
    for row in result["rows"]:
        assert row["finished"] == row["studies"] * (6 if row["trials"] == "real" else 24) > 0
        assert [row[what] for what in ("lost", "repeated", "orphans", "other_faults")] == [0, 0, 0, 0]


def test_an_unknown_scenario_is_an_error_of_one_line(tmp_path: Path) -> None:
    done = run_benchmark("robustness.faults", "--scenario", "remote-fake", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --scenario: no scenario 'remote-fake'")
    assert done.stderr.count("\n") == 1
