"""The program that the fault campaign kills: `sasrecf-tune` itself, with another executor if asked for.

    python under_attack.py EXECUTOR TRAINING POINT DELAY run --params-file ...

EXECUTOR is inline or local, TRAINING real, fake, or slow, which is fake too. At the POINT-th time (0 for
never) that the coordinator is about to change a file or the database, or has committed, it dies: at once, or
DELAY seconds later, which may be in the middle of what SQLite does for a commit.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from instant import Instant

from sasrecf_tune.messages import Decision, Job, Report, Result

if TYPE_CHECKING:
    from sasrecf_tune.executors.base import Executor
    from sasrecf_tune.inputs.settings import RunSettings
    from sasrecf_tune.storage.directory import StudyDirectory

# So long a fake epoch takes, that there is a trial to be killed in; a slow one, that others have a share.
_EPOCH_SECONDS = {"fake": 0.01, "slow": 0.2}


class Brief(Instant):
    """Fake training that takes a moment and leaves a checkpoint."""

    seconds = _EPOCH_SECONDS["fake"]

    def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result:
        """See `Instant.train`."""

        def later(report: Report) -> Decision:
            time.sleep(self.seconds)
            return on_report(report)

        result = super().train(job, later)
        job.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        job.checkpoint.write_text(f"{job.number}\n")
        return result


def main() -> None:
    """Arm what was asked for, and hand over to the command line."""
    executor, training, point, delay = sys.argv[1:5]
    sys.argv = ["sasrecf-tune", *sys.argv[5:]]
    from sasrecf_tune.cli import app as cli
    from sasrecf_tune.cli import session

    if (executor, training) != ("local", "real"):

        @contextlib.contextmanager
        def replaced(settings: RunSettings, study_dir: StudyDirectory) -> Iterator[Executor]:
            made = _inline(training) if executor == "inline" else _fake_processes(settings, study_dir)
            try:
                yield made
            finally:
                made.close()

        session.open_executor = replaced
    if int(point):
        _die_at(int(point), float(delay))
    cli.main()


def _fake_processes(settings: RunSettings, study_dir: StudyDirectory) -> Executor:
    from sasrecf_tune.executors.local import LocalExecutor

    return LocalExecutor(study_dir, settings.workers, runner="under_attack:Brief")


def _inline(training: str) -> Executor:
    from sasrecf_tune.executors.inline import InlineExecutor

    if training in _EPOCH_SECONDS:
        brief = Brief("")
        brief.seconds = _EPOCH_SECONDS[training]
        return InlineExecutor(brief.train, brief.describe)
    from sasrecf_tune.training.runner import start_runner

    runner = start_runner("")
    return InlineExecutor(runner.train, runner.describe, runner.measure)


def _die_at(point: int, delay: float) -> None:
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
            # Nothing handles the signal, so the kernel ends the process wherever it is.
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
    # Last, so that it counts nothing of the imports.
    sys.addaudithook(audit)


if __name__ == "__main__":
    main()
