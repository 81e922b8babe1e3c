"""Workers that train several jobs at a time, each job as if it were alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sasrecf_tune.executors.local import LocalExecutor
from sasrecf_tune.executors.pausable import PausableThread, current_thread
from sasrecf_tune.messages import Decision, Describe, FailureKind, Job, Report, Result
from sasrecf_tune.storage.directory import StudyDirectory
from tests.support import fake_runner
from tests.support.executors import Heard, drive
from tests.support.fake_runner import EPOCHS


@pytest.fixture
def local(study_dir: StudyDirectory) -> Iterator[Callable[..., LocalExecutor]]:
    """Makes executors of one worker with three slots, unless told otherwise."""
    made: list[LocalExecutor] = []

    def make(**options: Any) -> LocalExecutor:
        runner = f"{fake_runner.__name__}:StandIn"
        options["slots"] = options.get("slots", 3)
        made.append(LocalExecutor(study_dir, runner=runner, **options))
        return made[-1]

    yield make
    for executor in made:
        executor.close()


@pytest.fixture
def job(study_dir: StudyDirectory) -> Callable[..., Job]:
    def make(number: int, act: str = "", **config: Any) -> Job:
        return Job(number, {"act": act} | config, "fast", study_dir.log(number), study_dir.checkpoint(number))

    return make


def submit(executor: LocalExecutor, *jobs: Job) -> None:
    for one in jobs:
        executor.submit(one)


def first_of(heard: Heard, number: int) -> Report:
    return next(report for report in heard.reports if report.number == number)


def last_of(heard: Heard, number: int) -> Report:
    return next(report for report in heard.reports if (report.number, report.epoch) == (number, EPOCHS))


def process_of(heard: Heard, number: int) -> float:
    (process,) = {report.metrics["process"] for report in heard.reports if report.number == number}
    return process


def test_jobs_of_a_worker_take_turns_and_have_separate_logs(
    local: Callable[..., LocalExecutor], job: Callable[..., Job], study_dir: StudyDirectory
) -> None:
    executor, heard = local(), Heard()
    assert executor.free == 3 and executor.describe(Describe({}, "fast")).epochs
    submit(executor, *map(job, range(3)))
    assert executor.free == 0
    drive(executor, heard, lambda: len(heard.outcomes) == 3)
    assert executor.free == 3 and len({process_of(heard, number) for number in range(3)}) == 1
    card = os.environ.get("CUDA_VISIBLE_DEVICES")
    for number in range(3):
        assert heard.epochs(number) == [1, 2, 3] and isinstance(heard.outcomes[number], Result)
        assert study_dir.log(number).read_text().splitlines() == [f"trial {number} on card {card}"]
    # The last has begun before the first has ended.
    assert heard.reports.index(first_of(heard, 2)) < heard.reports.index(last_of(heard, 0))


def test_a_pruned_job_frees_its_slot(local: Callable[..., LocalExecutor], job: Callable[..., Job]) -> None:
    def decide(report: Report) -> Decision:
        return Decision.PRUNE if report.number == 1 else Decision.CONTINUE

    executor, heard = local(), Heard(decide)
    submit(executor, *map(job, range(3)))
    drive(executor, heard, lambda: 1 in heard.outcomes)
    executor.submit(job(7))
    drive(executor, heard, lambda: len(heard.outcomes) == 4)
    assert [heard.epochs(number) for number in (0, 1, 2, 7)] == [[1, 2, 3], [1], [1, 2, 3], [1, 2, 3]]
    assert len({process_of(heard, number) for number in (0, 1, 2, 7)}) == 1


@pytest.mark.parametrize("kind", ["nan", "memory", "error"])
def test_a_failure_affects_one_job(
    local: Callable[..., LocalExecutor], job: Callable[..., Job], kind: str
) -> None:
    executor, heard = local(), Heard()
    submit(executor, job(0), job(1, kind), job(2))
    drive(executor, heard, lambda: 1 in heard.outcomes)
    assert heard.failure(1).kind == kind
    retiring = kind != "nan"
    assert executor.free == (0 if retiring else 1)  # what it left behind must not meet a job that begins now
    drive(executor, heard, lambda: len(heard.outcomes) == 3)
    assert executor.free == 3 and all(isinstance(heard.outcomes[number], Result) for number in (0, 2))
    executor.submit(job(3))
    drive(executor, heard, lambda: 3 in heard.outcomes)
    assert (process_of(heard, 3) != process_of(heard, 0)) is retiring


def test_a_dead_worker_fails_all_its_jobs(
    local: Callable[..., LocalExecutor], job: Callable[..., Job], study_dir: StudyDirectory
) -> None:
    executor = local(workers=2)

    def kill(report: Report) -> Decision:
        if report.number == 1 and report.epoch == 2:
            os.kill(int(report.metrics["process"]), signal.SIGKILL)
        return Decision.CONTINUE

    heard = Heard(kill)
    submit(executor, job(0, n_layers=1), job(5, n_layers=2), job(1, n_layers=1), job(2, n_layers=1))
    drive(executor, heard, lambda: len(heard.outcomes) == 4)
    assert [(heard.failure(number).kind, heard.failure(number).epochs) for number in (0, 1)] == [
        ("died", 2),
        ("died", 2),
    ]
    assert heard.failure(2).kind == FailureKind.WORKER_DIED and isinstance(heard.outcomes[5], Result)
    assert "SIGKILL" in study_dir.log(2).read_text()
    executor.submit(job(6))
    drive(executor, heard, lambda: 6 in heard.outcomes)
    assert isinstance(heard.outcomes[6], Result)


def test_a_hung_worker_fails_all_its_jobs(
    local: Callable[..., LocalExecutor], job: Callable[..., Job]
) -> None:
    now = 0.0

    def clock() -> float:
        return now

    executor, heard = local(hang_timeout=60, clock=clock), Heard()
    submit(executor, job(0), job(1, "hang"))

    def over() -> bool:
        nonlocal now
        now += 61 if heard.epochs(1) else 0
        return len(heard.outcomes) == 2

    drive(executor, heard, over)
    assert {heard.failure(number).kind for number in (0, 1)} == {"hang"}


def test_jobs_of_one_shape_share_a_worker(
    local: Callable[..., LocalExecutor], job: Callable[..., Job]
) -> None:
    executor, heard = local(workers=2, slots=2), Heard()
    shapes = {0: 1, 1: 2, 2: 2, 3: 1}
    submit(executor, *(job(number, n_layers=layers) for number, layers in shapes.items()))
    drive(executor, heard, lambda: len(heard.outcomes) == 4)
    assert process_of(heard, 0) == process_of(heard, 3) != process_of(heard, 1) == process_of(heard, 2)


def test_pausable_threads_take_turns_and_pass_answers_and_errors() -> None:
    said: list[str] = []

    def work(name: str) -> str:
        lane = current_thread()
        assert lane is not None
        for number in range(2):
            said.append(f"{name}{number}")
            if lane.pause(name) == "fail":
                raise ValueError(name)
        return name

    lanes = [PausableThread(lambda: work("a")), PausableThread(lambda: work("b"))]
    assert [lane.advance() for lane in lanes] == ["a", "b"] and said == ["a0", "b0"]
    assert lanes[0].advance() == "a" and not lanes[0].finished
    with pytest.raises(ValueError, match="b"):
        lanes[1].advance("fail")
    lanes[0].advance()
    assert lanes[0].finished and lanes[0].result == "a" and said == ["a0", "b0", "a1"]
    assert current_thread() is None
