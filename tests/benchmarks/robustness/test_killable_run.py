"""A search process that can be killed."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.robustness.killable_run import KillableRun


def test_kill_orphans_counts_processes_that_outlive_their_coordinator(tmp_path: Path) -> None:
    said = json.dumps({"event": "started", "trial": 0, "params": {}})
    with KillableRun(["sh", "-c", f"sleep 600 & echo '{said}'; wait"], tmp_path) as run:
        assert run.wait(lambda: run.ready is not None)
        run.kill()
        assert run.killed
        assert run.kill_orphans(patience=0) == 1
        assert run.kill_orphans() == 0
