"""The benchmark of killed searches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.robustness.killed_program import FakeRunner
from sasrecf_tune.messages import Decision, Job, Report
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


@pytest.mark.parametrize(("known", "repeated"), [(0, [1, 2, 3]), (1, [2, 3]), (2, [3]), (3, [3])])
def test_a_fake_trial_that_goes_on_repeats_the_reports_that_were_lost(
    tmp_path: Path, known: int, repeated: list[int]
) -> None:
    checkpoint = tmp_path / "trial-0000.resume"
    checkpoint.write_text("3")
    config = {"learning_rate": 0.01, "n_layers": 1, "epochs": 4}
    job = Job(0, config, "fast", tmp_path / "log", tmp_path / "weights", checkpoint, known=known)
    runner, reports = FakeRunner(""), list[Report]()
    runner.seconds = 0.0

    def on_report(report: Report) -> Decision:
        reports.append(report)
        return Decision.CONTINUE

    runner.train(job, on_report)
    assert [report.epoch for report in reports] == [*repeated, 4]
    assert [report.continues_after for report in reports] == [3] * len(repeated) + [0]


def test_an_unknown_scenario_is_an_error_of_one_line(tmp_path: Path) -> None:
    done = run_benchmark("robustness.faults", "--scenario", "remote-fake", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --scenario: no scenario 'remote-fake'")
    assert done.stderr.count("\n") == 1
