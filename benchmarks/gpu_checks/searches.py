"""Checks of whole searches on a GPU, each with the command line in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu_checks.faulty_search import FAULTS
from benchmarks.gpu_checks.setting import CheckSetting, Finding, all_but, free_gib

_RATES = [0.01, 0.007, 0.005, 0.003, 0.002, 0.001, 0.0007, 0.0005]
_STUDY = "checked"
# Enough for the workers' contexts and a trial in each, not for all the trials of one model each could train.
_FREE_GIB = 8.0


@dataclass(frozen=True)
class SearchRun:
    """A search that has ended: its exit code, its events, and the end of its standard error."""

    code: int
    events: list[dict[str, Any]]
    errors: str

    def states(self) -> list[str]:
        """Return how each trial has ended, by its number, and why it has failed."""
        ended = [event for event in self.events if event["event"] == "ended"]
        return [
            f"{event['state']}: {event['error']}"[:160] if event["error"] else event["state"]
            for event in sorted(ended, key=lambda event: int(event["trial"]))
        ]

    def is_whole(self, trials: int) -> bool:
        """Return whether all trials have completed, each once."""
        return self.code == 0 and self.states() == ["complete"] * trials


def reproduced(setting: CheckSetting) -> Finding:
    """Search, and train the best trial again: to the last digit."""
    with tempfile.TemporaryDirectory() as scratch:
        search = _search(setting, scratch, trials=2, options=())
        again = _run(setting, scratch, ["-m", "sasrecf_tune", "reproduce", _STUDY], {})
    fine = search.is_whole(2) and again.returncode == 0
    facts: dict[str, Any] = {"trials": search.states(), "exit code of reproduce": again.returncode}
    if not fine:
        facts |= {"search": search.errors, "reproduce": (again.stdout + again.stderr)[-300:]}
    return Finding(fine, facts)


def broken(setting: CheckSetting) -> Finding:
    """Break the CUDA context in one trial and run out of memory in another: the search loses nothing."""
    trials = 6
    with tempfile.TemporaryDirectory() as scratch:
        notes = Path(scratch) / "notes"
        notes.mkdir()
        faults = {"notes": str(notes), "assert": _RATES[1], "memory": _RATES[4]}
        search = _search(
            setting,
            scratch,
            trials,
            ("--fuse", "2", "--workers", "1", "--retries", "2"),  # both may meet one pair of trials
            program="benchmarks.gpu_checks.faulty_search",
            environment={FAULTS: json.dumps(faults)},
        )
        met = [kind for kind in ("assert", "memory") if (notes / kind).exists()]
        workers = len(list(notes.glob("worker-*")))
        said = [
            line
            for log in sorted(Path(scratch).glob(f"tuning/{_STUDY}/logs/*"))
            for line in log.read_text(errors="replace").splitlines()
            if "CUDA" in line and "rror" in line
        ]
    facts = {"trials": search.states(), "faults": met, "workers started": workers, "logged": said[:2]}
    fine = search.is_whole(trials) and len(met) == 2 and workers > 1
    return Finding(fine, facts if fine else facts | {"search": search.errors})


def crowded(setting: CheckSetting) -> Finding:
    """Search with several workers, fused as fits, on a GPU that others have almost filled."""
    trials = len(_RATES)
    options = ("--fuse", "auto", "--workers", str(setting.workers))
    with (
        tempfile.TemporaryDirectory() as scratch,
        all_but(_FREE_GIB, setting.device) as held,
        _least_free(setting.device) as free,
    ):
        search = _search(setting, scratch, trials, options)
    plan = next((event for event in search.events if event["event"] == "plan"), {})
    facts: dict[str, Any] = {
        "trials": search.states(),
        "notes": [note for note in plan.get("notes", []) if "one model" in note],
    }
    if setting.device == "cuda":
        facts |= {"held GiB": round(held, 1), "least free GiB": round(min(free), 2)}
    fine = search.is_whole(trials)
    return Finding(fine, facts if fine else facts | {"search": search.errors})


def _search(
    setting: CheckSetting,
    scratch: str,
    trials: int,
    options: tuple[str, ...],
    program: str = "sasrecf_tune",
    environment: dict[str, str] | None = None,
) -> SearchRun:
    """Search the learning rates on ml-100k, in the directory `scratch`."""
    (Path(scratch) / "hyper.test").write_text(f"learning_rate choice {_RATES}\n")
    command = ["-m", program, "run", "--params-file", "hyper.test", "--study", _STUDY, "--json"]
    command += ["--sampler", "grid", "--pruner", "none", "--trials", str(trials), *options]
    sets = ["epochs=3", f"n_layers={setting.layers}", *setting.sets]
    command += [part for one in sets for part in ("--set", one)]
    done = _run(setting, scratch, command, environment or {})
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return SearchRun(done.returncode, events, done.stderr[-300:])


def _run(
    setting: CheckSetting, scratch: str, command: list[str], environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command, "--gpus", setting.gpu or "none"],
        cwd=scratch,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@contextlib.contextmanager
def _least_free(device: str) -> Iterator[list[float]]:
    """Note the GPU's free GiB again and again in the block."""
    found: list[float] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            found.append(free_gib())

    if device != "cuda":
        yield found
        return
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()
