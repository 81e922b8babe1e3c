"""Measure trials per hour and memory per worker of a real search."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sasrecf_tune.errors import WorkerError

# Trials of equal cost, so that the last ones do not wait for a long one.
_RATES = [0.01, 0.007, 0.005, 0.003, 0.002, 0.001, 0.0007, 0.0005]


def measure_search(
    workers: int, fuse: int, trials: int, gpus: str, settings: Sequence[str]
) -> dict[str, Any]:
    """Return trials per hour, without the first trials of all workers, and the memory per worker (MiB).

    Each worker trains up to `fuse` trials as one model; `trials` is rounded up, so that each group is full.
    The memory is the peak of the sum of the workers' PSS, divided by their number; None except on Linux.

    Raises:
        WorkerError: the search failed.
    """
    at_once = workers * fuse
    every = at_once * (1 + -(-trials // at_once))
    with tempfile.TemporaryDirectory() as scratch:
        seeds = range(1, -(-every // len(_RATES)) + 1)
        space = f"learning_rate choice {_RATES}\nseed choice {list(seeds)}\n"
        (Path(scratch) / "hyper.test").write_text(space)
        command = [sys.executable, "-m", "sasrecf_tune", "run", "--params-file", "hyper.test", "--json"]
        command += ["--sampler", "grid", "--pruner", "none", "--trials", str(every)]
        command += ["--workers", str(workers), "--fuse", str(fuse), "--gpus", gpus]
        command += [part for setting in settings for part in ("--set", setting)]
        ends: list[float] = []
        peak = 0.0
        with subprocess.Popen(
            command, cwd=scratch, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None and process.stderr is not None
            for line in process.stdout:
                event = json.loads(line).get("event")
                if event in ("reported", "ended"):
                    peak = max(peak, _workers_memory(process.pid) / workers)
                if event == "ended":
                    ends.append(time.monotonic())
            errors = process.stderr.read()
        if process.returncode or len(ends) <= at_once:
            raise WorkerError(f"the search ended with {process.returncode}: {errors.strip()[-300:]}")
    timed = ends[at_once - 1 :]
    return {
        "workers": workers,
        "fuse": fuse,
        "trials": len(timed) - 1,
        "trials_per_hour": round(3600 * (len(timed) - 1) / (timed[-1] - timed[0])),
        "memory_per_worker_MiB": round(peak / 2**20) or None,
    }


def _workers_memory(parent: int) -> float:
    """Return the PSS in bytes of all children of a process, without the resource tracker."""
    total = 0
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{child}/cmdline").read_bytes()
                if b"resource_tracker" not in command:
                    lines = Path(f"/proc/{child}/smaps_rollup").read_text().splitlines()
                    total += 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return float(total)
