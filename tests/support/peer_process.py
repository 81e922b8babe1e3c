"""`sasrecf-tune` with simulated training in its own process, and shorter time limits:

    python -m tests.support.peer_process SECONDS ...

SECONDS is the duration of an epoch; the command line follows. Dead peers are found by their silence only.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from sasrecf_tune.cli import app as cli
from sasrecf_tune.cli import session
from sasrecf_tune.executors.allocation import Allocation
from sasrecf_tune.executors.base import Executor
from sasrecf_tune.executors.inline import InlineExecutor
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.messages import Decision, Failure, Job, Report, Result
from sasrecf_tune.report.page import render
from sasrecf_tune.storage.database import heartbeats, reconnect, server
from sasrecf_tune.storage.directory import StudyDirectory
from tests.support.fake_training import FakeTraining

EPOCHS = 4


def quality(config: dict[str, object]) -> float:
    return round(float(str(config["learning_rate"])) + float(str(config["n_layers"])) / 100, 4)


class Slow(FakeTraining):
    def __init__(self, seconds: float) -> None:
        super().__init__(quality, EPOCHS)
        self.seconds = seconds

    def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
        def later(report: Report) -> Decision:
            time.sleep(self.seconds)
            return on_report(report)

        result = super().train(job, later)
        job.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        job.checkpoint.touch()
        return result


def main() -> None:
    training = Slow(float(sys.argv[1]))
    sys.argv = ["sasrecf-tune", *sys.argv[2:]]

    @contextlib.contextmanager
    def inline(
        settings: RunSettings, study_dir: StudyDirectory, allocation: Allocation
    ) -> Iterator[Executor]:
        yield InlineExecutor(training.train, training.describe)

    session.open_executor = inline
    render.write_page = lambda *_: None  # it takes longer than everything else
    heartbeats.BEAT_SECONDS, heartbeats.SILENT_SECONDS = 0.2, 2.0
    heartbeats._machine_id = lambda: ""
    reconnect.RETRY_SECONDS = 8.0
    server.IDLE_SECONDS = 1
    cli.main()


if __name__ == "__main__":
    main()
