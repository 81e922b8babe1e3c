"""Runs a benchmark as a program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

# A few dozen steps an epoch, each of milliseconds.
TINY = [
    *("--set", "user_inter_num_interval=[20,23]"),
    *("--set", "MAX_ITEM_LIST_LENGTH=5"),
    *("--set", "hidden_size=8"),
    *("--set", "inner_size=16"),
    *("--set", "train_batch_size=64"),
]


def run_benchmark(name: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `python -m benchmarks.NAME` in `cwd`."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
