"""Run searches as a user does, on one worker of one thread, and follow them until they end or are stopped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from benchmarks.common import print_progress
from benchmarks.search.hopwise_study import read_hopwise
from benchmarks.search.search_result import Params, SearchResult, Stop
from sasrecf_tune.errors import WorkerError

_THREADS = 1


def run_sasrecf_tune(options: Sequence[str], stop: Stop) -> SearchResult:
    """Run `sasrecf-tune run` with these options; the clock starts with the process.

    Raises:
        WorkerError: the search found nothing.
    """
    found = SearchResult()
    params: dict[int, Params] = {}
    started = time.perf_counter()
    fixed = ["--json", "--workers", "1", "--threads", str(_THREADS)]
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "sasrecf_tune", "run", "--out", scratch, *fixed, *options]
        with _process(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            timer = threading.Timer(stop.seconds or threading.TIMEOUT_MAX, _kill, [process])
            timer.daemon = True
            timer.start()
            for line in process.stdout:
                found.seconds = time.perf_counter() - started
                add_event(found, json.loads(line), params)
                if found.should_stop(stop):
                    break
            else:
                if process.wait() == -signal.SIGKILL:
                    found.seconds = time.perf_counter() - started
                    found.stopped = "time"
            timer.cancel()
    if not found.best:
        raise WorkerError("the search found nothing", fix="Its message is above.")
    return found


def add_event(found: SearchResult, event: Mapping[str, Any], params: dict[int, Params]) -> None:
    """Add a line of `run --json`; `params` has the parameters of the trials that have started."""
    if event["event"] == "started":
        params[event["trial"]] = event["params"]
    elif event["event"] == "reported":
        found.epochs += 1
    elif event["event"] == "ended":
        complete = event["state"] == "complete"
        score = event["score"] if complete else None
        found.add_trial(event["trial"], params[event["trial"]], score, found.seconds)
    elif event["event"] == "end" and event["best"]:
        found.choice = event["best"]["params"]


def run_hopwise(python: Path, space: str, config: Mapping[str, Any], trials: int, stop: Stop) -> SearchResult:
    """Run `hopwise tune` with its defaults, but as many trials as asked for.

    Args:
        python: The interpreter of the environment of hopwise.
        space: The text of a params file.
        config: RecBole settings.
        trials: Its --max-evals.
        stop: When it is stopped.

    Raises:
        WorkerError: the search found nothing.
    """
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        (directory / "hyper.test").write_text(space)
        (directory / "config.yaml").write_text(yaml.safe_dump(dict(config)))
        options = ["--config-files", "config.yaml", "--output-path", "found", "--study-name", "study"]
        # Not resolved: the interpreter of a virtual environment is a link, and its place is what counts.
        command = [str(python.absolute()), "-m", "hopwise", "--debug", "tune", "hyper.test", *options]
        command += ["--max-evals", str(trials)]
        database, messages = directory / "found" / "study.db", directory / "messages"
        started, clock = datetime.now(), time.perf_counter()  # as Optuna writes times
        found = SearchResult()
        with (
            messages.open("w") as output,
            _process(command, stdout=output, stderr=output, cwd=directory) as process,
        ):
            running = True
            while running and not found.should_stop(stop):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(1)
                running = process.poll() is None
                found = read_hopwise(database, started)
                found.seconds = time.perf_counter() - clock
        if not found.best:
            print_progress(messages.read_text()[-2000:])
            raise WorkerError("hopwise tune found nothing", fix="Its message is above.")
        return found


@contextlib.contextmanager
def _process(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Start a process, and at the end of the block kill it and those that it started."""
    environment = os.environ | {"OMP_NUM_THREADS": str(_THREADS)}
    with subprocess.Popen(command, text=True, process_group=0, env=environment, **options) as process:
        try:
            yield process
        finally:
            _kill(process)


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
