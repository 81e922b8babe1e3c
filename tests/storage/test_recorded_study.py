"""A study directory that an earlier version recorded still reports, resumes and keeps its results.

`tests/data/recorded-study` was written by 0.1.0 before its modules became packages: six trials of eight had
completed, two were confirmed, and the run was killed during trial 6, whose checkpoint is in it.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from tests.support.paths import ROOT

Cli = Callable[..., subprocess.CompletedProcess[str]]
RECORDED = ROOT / "tests" / "data" / "recorded-study"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RECORDED, tmp_path / "recorded"))


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def test_its_report_is_what_was_recorded(study: Path, cli: Cli) -> None:
    done = cli("report", "recorded", "--out", ".", "--format", "csv", "--top", "0")
    assert done.returncode == 0, done.stderr
    recorded = rows((RECORDED / "trials.csv").read_text())
    reported = sorted(rows(done.stdout), key=lambda row: int(row["number"]))
    assert [{key: row[key] for key in recorded[0]} for row in reported] == recorded
    content = json.loads(cli("report", "recorded", "--out", ".", "--format", "json").stdout)
    assert content["confirmation"]["trials"] == [1, 4] and content["confirmation"]["seeds"] == [2021, 2022]
    best = cli("best", "recorded", "--out", ".").stdout
    assert yaml.safe_load(best) == yaml.safe_load((RECORDED / "best.yaml").read_text())


def test_it_resumes_where_it_was_killed(study: Path, cli: Cli) -> None:
    done = cli("resume", "recorded", "--out", ".", "--until", "never")
    assert done.returncode == 0, done.stderr
    recorded, now = (rows((place / "trials.csv").read_text()) for place in (RECORDED, study))
    assert [{key: row[key] for key in recorded[0]} for row in now[: len(recorded)]] == recorded
    assert [(row["number"], row["state"]) for row in now[len(recorded) :]] == [
        ("6", "complete"),
        ("7", "complete"),
    ]
    versions = json.loads((RECORDED / "manifest.json").read_text())["versions"]
    if all(version(name) == versions[name] for name in ("torch", "recbole", "numpy")):
        # Its checkpoint has the generator that dropout once had.
        assert "trial 6 could not continue and restarted: it is of a version that drew" in done.stdout
    before, after = (json.loads((place / "manifest.json").read_text()) for place in (RECORDED, study))
    for part in ("search", "data"):
        assert after[part].keys() >= before[part].keys()
    assert after.keys() == before.keys() | {"later_commands", "sources", "log"}
    # The command that began the study stays.
    assert after["command"] == before["command"] and after["later_commands"][0][1] == "resume"
