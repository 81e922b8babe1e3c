"""The benchmark of report.html."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.benchmark import run_benchmark


def test_the_page_works_in_a_browser(tmp_path: Path) -> None:
    done = run_benchmark("report.page", "--trials", 25, "--opens", 1, cwd=tmp_path)
    if done.returncode == 3:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["sorts"] and found["filters"] and found["hovers"]
    assert found["requests"] == found["errors"] == []
    drawn, _, pictures = found["pictures_drawn"].split()
    assert drawn == pictures
