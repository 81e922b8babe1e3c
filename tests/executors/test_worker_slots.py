"""Workers that train several jobs at a time, each job as if it were alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from sasrecf_tune.executors.local import LocalExecutor
from sasrecf_tune.executors.pausable import PausableThread, current_thread
from sasrecf_tune.messages import Decision, Describe, FailureKind, Job, Report, Result
from sasrecf_tune.storage.directory import StudyDirectory
from tests.support import fake_runner
from tests.support.executors import RecordingHandler, drive
from tests.support.fake_runner import EPOCHS


@pytest.fixture
def local(study_dir: StudyDirectory) -> Iterator[Callable[..., LocalExecutor]]:
    """Makes executors of one worker with three slots by default."""
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


def first_of(handler: RecordingHandler, number: int) -> Report:
    return next(report for report in handler.reports if report.number == number)


def last_of(handler: RecordingHandler, number: int) -> Report:
    return next(report for report in handler.reports if (report.number, report.epoch) == (number, EPOCHS))


def process_of(handler: RecordingHandler, number: int) -> float:
    (process,) = {report.metrics["process"] for report in handler.reports if report.number == number}
    return process


def test_jobs_of_a_worker_take_turns_and_have_separate_logs(
    local: Callable[..., LocalExecutor], job: Callable[..., Job], study_dir: StudyDirectory
) -> None:
    executor, handler = local(), RecordingHandler()
    assert executor.free == 3 and executor.describe(Describe({}, "fast")).epochs
    submit(executor, *map(job, range(3)))
    assert executor.free == 0
    drive(executor, handler, lambda: len(handler.outcomes) == 3)
    assert executor.free == 3 and len({process_of(handler, number) for number in range(3)}) == 1
    card = os.environ.get("CUDA_VISIBLE_DEVICES")
    for number in range(3):
        assert handler.epochs(number) == [1, 2, 3] and isinstance(handler.outcomes[number], Result)
        assert study_dir.log(number).read_text().splitlines() == [f"trial {number} on card {card}"]
    # The last has begun before the first has ended.
    assert handler.reports.index(first_of(handler, 2)) < handler.reports.index(last_of(handler, 0))


def test_a_pruned_job_frees_its_slot(local: Callable[..., LocalExecutor], job: Callable[..., Job]) -> None:
    def decide(report: Report) -> Decision:
        return Decision.PRUNE if report.number == 1 else Decision.CONTINUE

    executor, handler = local(), RecordingHandler(decide)
    submit(executor, *map(job, range(3)))
    drive(executor, handler, lambda: 1 in handler.outcomes)
    executor.submit(job(7))
    drive(executor, handler, lambda: len(handler.outcomes) == 4)
    assert [handler.epochs(number) for number in (0, 1, 2, 7)] == [[1, 2, 3], [1], [1, 2, 3], [1, 2, 3]]
    assert len({process_of(handler, number) for number in (0, 1, 2, 7)}) == 1


@pytest.mark.parametrize("kind", ["nan", "memory", "error"])
def test_a_failure_affects_one_job(
    local: Callable[..., LocalExecutor], job: Callable[..., Job], kind: str
) -> None:
    executor, handler = local(), RecordingHandler()
    submit(executor, job(0), job(1, kind), job(2))
    drive(executor, handler, lambda: 1 in handler.outcomes)
    assert handler.failure(1).kind == kind
    retiring = kind != "nan"
    assert executor.free == (0 if retiring else 1)  # what it left behind must not meet a job that begins now
    drive(executor, handler, lambda: len(handler.outcomes) == 3)
    assert executor.free == 3 and all(isinstance(handler.outcomes[number], Result) for number in (0, 2))
    executor.submit(job(3))
    drive(executor, handler, lambda: 3 in handler.outcomes)
    assert (process_of(handler, 3) != process_of(handler, 0)) is retiring


def test_a_worker_that_lost_its_gpu_fails_all_its_jobs(
    local: Callable[..., LocalExecutor], job: Callable[..., Job]
) -> None:
    executor, handler = local(), RecordingHandler()
    submit(executor, job(0), job(1, "died"), job(2))
    drive(executor, handler, lambda: len(handler.outcomes) == 3)
    for number in range(3):
        failure = handler.failure(number)
        assert (failure.kind, failure.reason) == (FailureKind.FUSED, "made to fail: died")
    executor.submit(job(3))
    drive(executor, handler, lambda: 3 in handler.outcomes)
    assert isinstance(handler.outcomes[3], Result) and process_of(handler, 3) != process_of(handler, 1)


def test_a_dead_worker_fails_all_its_jobs(
    local: Callable[..., LocalExecutor], job: Callable[..., Job], study_dir: StudyDirectory
) -> None:
    executor = local(workers=2)

    def kill(report: Report) -> Decision:
        if report.number == 1 and report.epoch == 2:
            os.kill(int(report.metrics["process"]), signal.SIGKILL)
        return Decision.CONTINUE

    handler = RecordingHandler(kill)
    submit(executor, job(0, n_layers=1), job(5, n_layers=2), job(1, n_layers=1), job(2, n_layers=1))
    drive(executor, handler, lambda: len(handler.outcomes) == 4)
    assert [(handler.failure(number).kind, handler.failure(number).epochs) for number in (0, 1)] == [
        ("together", 2),
        ("together", 2),
    ]
    assert handler.failure(2).kind == FailureKind.FUSED and isinstance(handler.outcomes[5], Result)
    assert "SIGKILL" in study_dir.log(2).read_text()
    executor.submit(job(6))
    drive(executor, handler, lambda: 6 in handler.outcomes)
    assert isinstance(handler.outcomes[6], Result)


def test_a_hung_worker_fails_all_its_jobs(
    local: Callable[..., LocalExecutor], job: Callable[..., Job]
) -> None:
    now = 0.0

    def clock() -> float:
        return now

    executor, handler = local(hang_timeout=60, clock=clock), RecordingHandler()
    submit(executor, job(0), job(1, "hang"))

    def over() -> bool:
        nonlocal now
        now += 61 if handler.epochs(1) else 0
        return len(handler.outcomes) == 2

    drive(executor, handler, over)
    assert {handler.failure(number).kind for number in (0, 1)} == {"together"}


def test_a_job_that_must_train_alone_shares_no_worker(
    local: Callable[..., LocalExecutor], job: Callable[..., Job]
) -> None:
    def kill(report: Report) -> Decision:
        if report.number == 2:
            os.kill(int(report.metrics["process"]), signal.SIGKILL)
        return Decision.CONTINUE

    executor, handler = local(), RecordingHandler(kill)
    submit(executor, job(0), job(1), replace(job(2), alone=True))
    assert executor.free == 0  # else the worker would never be idle
    drive(executor, handler, lambda: {0, 1} <= set(handler.outcomes))
    executor.step(handler, 0)
    assert executor.free == 0 and not handler.outcomes.get(2)
    drive(executor, handler, lambda: 2 in handler.outcomes)
    # Its worker's death is its own failure.
    assert handler.failure(2).kind == FailureKind.WORKER_DIED and executor.free == 3
    assert all(isinstance(handler.outcomes[number], Result) for number in (0, 1))
    submit(executor, job(3), replace(job(4), alone=True))
    assert (executor.withdraw(), executor.free) == ([4], 2)


def test_jobs_with_the_same_shapes_share_a_worker(
    local: Callable[..., LocalExecutor], job: Callable[..., Job]
) -> None:
    executor, handler = local(workers=2, slots=2), RecordingHandler()
    shapes = {0: 1, 1: 2, 2: 2, 3: 1}
    submit(executor, *(job(number, n_layers=layers) for number, layers in shapes.items()))
    drive(executor, handler, lambda: len(handler.outcomes) == 4)
    assert (
        process_of(handler, 0) == process_of(handler, 3) != process_of(handler, 1) == process_of(handler, 2)
    )


def test_pausable_threads_take_turns_and_pass_answers_and_errors() -> None:
    calls: list[str] = []

    def work(name: str) -> str:
        thread = current_thread()
        assert thread is not None
        for number in range(2):
            calls.append(f"{name}{number}")
            if thread.pause(name) == "fail":
                raise ValueError(name)
        return name

    threads = [PausableThread(lambda: work("a")), PausableThread(lambda: work("b"))]
    assert [thread.advance() for thread in threads] == ["a", "b"] and calls == ["a0", "b0"]
    assert threads[0].advance() == "a" and not threads[0].finished
    with pytest.raises(ValueError, match="b"):
        threads[1].advance("fail")
    threads[0].advance()
    assert threads[0].finished and threads[0].result == "a" and calls == ["a0", "b0", "a1"]
    assert current_thread() is None
