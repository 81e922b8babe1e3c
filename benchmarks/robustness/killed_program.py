"""The program that the fault benchmarks kill: `sasrecf-tune` with a replaced executor or training.

    python -m benchmarks.robustness.killed_program EXECUTOR TRAINING POINT DELAY run --params-file ...

EXECUTOR is inline or local; TRAINING is real, fake, or slow, which is fake with longer epochs. In the
environment, PAUSING has trials paused and continued by `tests.support.pausing_policy`. At the
POINT-th time (0: never) that the coordinator is about to change a file or the database, or has committed, it
kills itself: at once, or DELAY seconds later, which may be inside SQLite's commit.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from typing_extensions import override

from benchmarks.search.instant_training import InstantRunner
from sasrecf_tune.messages import Decision, Job, Report, Result

if TYPE_CHECKING:
    from sasrecf_tune.executors.allocation import Allocation
    from sasrecf_tune.executors.base import Executor
    from sasrecf_tune.inputs.settings import RunSettings
    from sasrecf_tune.search.plan import Plan
    from sasrecf_tune.search.policy import SearchPolicy
    from sasrecf_tune.storage.directory import StudyDirectory

PAUSING = "SASRECF_TUNE_BENCHMARK_PAUSING"
# Fake epochs take a moment, so that a kill can hit a trial; slow ones, so that several runs share the study.
_EPOCH_SECONDS = {"fake": 0.01, "slow": 0.2}


class FakeRunner(InstantRunner):
    """Fake training that takes a moment and writes the files of a trial."""

    seconds = _EPOCH_SECONDS["fake"]

    @override
    def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result:
        assert job.resume_file is not None
        done = int(job.resume_file.read_text()) if job.resume_file.exists() else 0

        def later(report: Report) -> Decision:
            if report.epoch <= min(job.known, done - 1):
                return Decision.CONTINUE
            report = replace(report, ends=report.epoch == int(job.config["epochs"]))
            if report.epoch <= done:
                # As the real runner: the coordinator may have been killed before it stored them.
                decision = on_report(replace(report, continues_after=done))
                return decision if report.epoch == done else Decision.CONTINUE
            time.sleep(self.seconds)
            return on_report(report)

        result = super().train(job, later)
        job.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        if result.decision is Decision.PAUSE:
            written = job.resume_file.with_name(f".{job.resume_file.name}.part")
            written.write_text(f"{result.epochs}\n")
            written.replace(job.resume_file)
            return replace(result, checkpoint=result.epochs)
        job.checkpoint.write_text(f"{job.number}\n")
        return result


def main() -> None:
    """Prepare the kill and start the command line."""
    executor, training, point, delay = sys.argv[1:5]
    sys.argv = ["sasrecf-tune", *sys.argv[5:]]
    from sasrecf_tune.cli import app as cli
    from sasrecf_tune.cli import session
    from sasrecf_tune.search import study_setup

    if (executor, training) != ("local", "real"):

        @contextlib.contextmanager
        def replaced(
            settings: RunSettings, study_dir: StudyDirectory, allocation: Allocation
        ) -> Iterator[Executor]:
            made = _inline(training) if executor == "inline" else _fake_processes(settings, study_dir)
            try:
                yield made
            finally:
                made.close()

        session.open_executor = replaced
    if PAUSING in os.environ:
        study_setup.make_policy = _pausing
    if int(point):
        _kill_self_at(int(point), float(delay))
    cli.main()


def _pausing(plan: Plan) -> SearchPolicy:
    from tests.support.pausing_policy import HalvingPolicy

    assert plan.cells is not None
    return HalvingPolicy(plan.cells(), plan.epochs, plan.settings.metric.maximize)


def _fake_processes(settings: RunSettings, study_dir: StudyDirectory) -> Executor:
    from sasrecf_tune.executors.local import LocalExecutor

    return LocalExecutor(
        study_dir, settings.workers or 1, runner="benchmarks.robustness.killed_program:FakeRunner"
    )


def _inline(training: str) -> Executor:
    from sasrecf_tune.executors.inline import InlineExecutor

    if training in _EPOCH_SECONDS:
        brief = FakeRunner("")
        brief.seconds = _EPOCH_SECONDS[training]
        return InlineExecutor(brief.train, brief.describe)
    from sasrecf_tune.training.runner import start_runner

    runner = start_runner("")
    return InlineExecutor(runner.train, runner.describe, runner.measure)


def _kill_self_at(point: int, delay: float) -> None:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine
    from sqlalchemy.orm import Session

    passed = 0

    def count(*_: object) -> None:
        nonlocal passed
        passed += 1
        if passed != point:
            return
        if delay:
            # Nothing handles the signal, so the kernel ends the process at any point.
            signal.setitimer(signal.ITIMER_REAL, delay)
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(name: str, arguments: tuple[object, ...]) -> None:
        if name == "open":
            flags = arguments[2]
            changes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
        else:
            changes = name in ("os.rename", "os.remove", "os.mkdir", "os.chmod")
        if changes:
            count()

    def statement(_connection: object, _cursor: object, text: str, *_: object) -> None:
        if not text.lstrip().upper().startswith(("SELECT", "PRAGMA")):
            count()

    event.listen(Engine, "before_cursor_execute", statement)
    event.listen(Engine, "commit", count)
    event.listen(Session, "after_commit", count)
    # Last, so that imports are not counted.
    sys.addaudithook(audit)


if __name__ == "__main__":
    main()
