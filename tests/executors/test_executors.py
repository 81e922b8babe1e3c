"""What every executor must do, asked of each; and what worker processes must survive."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sasrecf_tune.environment import TF32_OVERRIDE
from sasrecf_tune.errors import TuneError, UnknownReasonError, WorkerError
from sasrecf_tune.executors.base import Executor
from sasrecf_tune.executors.inline import InlineExecutor
from sasrecf_tune.executors.local import LocalExecutor, _signals_held
from sasrecf_tune.executors.ray.executor import RayExecutor
from sasrecf_tune.executors.worker import set_threads
from sasrecf_tune.messages import (
    Decision,
    Describe,
    Failure,
    FailureKind,
    Job,
    Measure,
    Report,
    Result,
    Timing,
)
from sasrecf_tune.storage.directory import StudyDirectory
from tests.support import fake_runner
from tests.support.executors import RecordingHandler, drive, train
from tests.support.fake_runner import EPOCHS, StandIn
from tests.support.fake_training import summary


@pytest.fixture(params=["inline", "local", "ray"])
def executor(request: pytest.FixtureRequest) -> Executor:
    if request.param == "inline":
        runner = StandIn()
        return InlineExecutor(runner.train, runner.describe, runner.measure)
    make: Callable[[], Executor] = request.getfixturevalue({"local": "local", "ray": "on_ray"}[request.param])
    return make()


@pytest.fixture(params=["local", "on_ray"])
def processes(request: pytest.FixtureRequest) -> Callable[..., Executor]:
    """Makes executors whose workers are processes, here or on the cluster."""
    make: Callable[..., Executor] = request.getfixturevalue(request.param)
    return make


def test_reports_come_in_order_and_then_the_result(executor: Executor, job: Callable[..., Job]) -> None:
    handler = RecordingHandler()
    train(executor, handler, job(7), job(8))
    for number in (7, 8):
        assert handler.epochs(number) == list(range(1, EPOCHS + 1))
        outcome = handler.outcomes[number]
        assert isinstance(outcome, Result)
        assert (outcome.decision, outcome.epochs, outcome.valid) == (
            Decision.CONTINUE,
            EPOCHS,
            {"mrr@10": EPOCHS / 10},
        )


@pytest.mark.parametrize("decision", [Decision.PRUNE, Decision.STOP])
def test_a_decision_ends_the_job(executor: Executor, job: Callable[..., Job], decision: Decision) -> None:
    handler = RecordingHandler(lambda report: decision if report.epoch == 2 else Decision.CONTINUE)
    train(executor, handler, job(0))
    assert handler.epochs(0) == [1, 2]
    outcome = handler.outcomes[0]
    assert isinstance(outcome, Result) and outcome.decision is decision and not outcome.test


@pytest.mark.parametrize("kind", ["nan", "memory", "error"])
def test_a_failure_is_passed_on_and_the_next_job_is_trained(
    executor: Executor, job: Callable[..., Job], kind: str
) -> None:
    handler = RecordingHandler()
    train(executor, handler, job(0, kind), job(1))
    assert handler.outcomes[0] == Failure(0, FailureKind(kind), f"made to fail: {kind}", epochs=1)
    assert isinstance(handler.outcomes[1], Result)


def test_free_is_the_number_of_jobs_it_accepts(executor: Executor, job: Callable[..., Job]) -> None:
    handler = RecordingHandler()
    assert executor.free == 1
    executor.submit(job(0))
    assert executor.free == 0
    drive(executor, handler, lambda: handler.outcomes)
    assert executor.free == 1


def test_data_requests_are_answered(executor: Executor) -> None:
    assert replace(executor.describe(Describe({}, "fast")), place="") == summary(EPOCHS)
    assert executor.measure(Measure({}, "fast", 5)) == Timing(1.0, 0.5, 5, 10)


def test_close_ends_all_work_and_can_be_called_twice(executor: Executor, job: Callable[..., Job]) -> None:
    executor.describe(Describe({}, "fast"))
    executor.submit(job(0, "hang"))
    executor.close()
    assert not multiprocessing.active_children()
    executor.close()


def test_withdraw_returns_jobs_that_no_worker_has_received(
    executor: Executor, job: Callable[..., Job], study_dir: StudyDirectory
) -> None:
    handler = RecordingHandler()
    executor.submit(job(0))
    if isinstance(executor, RayExecutor):
        assert executor.withdraw() == [0]
        assert executor.free == 1
        executor.submit(job(1))
    train(executor, handler, job(2))
    assert executor.withdraw() == []
    assert set(handler.outcomes) == ({1, 2} if isinstance(executor, RayExecutor) else {0, 2})


DEATHS = {
    "kill": "SIGKILL (the system does that when memory runs out)",
    "segfault": "SIGSEGV",
    "exit": "exit code 3",
    "raise": "exit code 1",
}


@pytest.mark.parametrize(("how", "message"), DEATHS.items())
def test_a_dead_worker_fails_its_job_and_is_replaced(
    local: Callable[..., LocalExecutor],
    job: Callable[..., Job],
    study_dir: StudyDirectory,
    how: str,
    message: str,
) -> None:
    handler = RecordingHandler()
    train(local(), handler, job(0, how), job(1))
    failure = handler.failure(0)
    assert (failure.kind, failure.epochs, failure.seconds) == ("died", 1, 1.0)
    assert message in failure.reason
    assert isinstance(handler.outcomes[1], Result)
    log = study_dir.log(0).read_text()
    assert "trial 0 on card" in log and log.endswith(f"\n{failure.reason}\n")
    assert {"segfault": "Segmentation fault", "raise": "as some libraries do"}.get(how, "") in log


def test_other_workers_continue_after_a_death(
    local: Callable[..., LocalExecutor], job: Callable[..., Job]
) -> None:
    handler = RecordingHandler()
    executor = local(workers=3)
    assert executor.free == 3
    train(executor, handler, job(0), job(1, "kill"), job(2), job(3), job(4, "segfault"), job(5))
    assert sorted(handler.outcomes) == list(range(6))
    assert [n for n, outcome in handler.outcomes.items() if isinstance(outcome, Failure)] in ([1, 4], [4, 1])
    assert executor.free == 3


def test_a_worker_killed_during_a_job_fails_it(
    processes: Callable[..., Executor], study_dir: StudyDirectory, job: Callable[..., Job]
) -> None:
    def kill(report: Report) -> Decision:
        if report.number == 0 and report.epoch == 2:
            os.kill(int(report.metrics["process"]), signal.SIGKILL)
        return Decision.CONTINUE

    handler = RecordingHandler(kill)
    train(processes(), handler, job(0), job(1))
    assert handler.failure(0).epochs == 2 and "SIGKILL" in handler.failure(0).reason
    assert (
        study_dir.log(0).read_text().startswith("trial 0 on card")
        and "SIGKILL" in study_dir.log(0).read_text()
    )
    assert isinstance(handler.outcomes[1], Result)


def test_a_worker_killed_between_jobs_fails_none(
    local: Callable[..., LocalExecutor], job: Callable[..., Job]
) -> None:
    handler = RecordingHandler()
    executor = local()
    train(executor, handler, job(0))
    (worker,) = multiprocessing.active_children()
    worker.kill()
    worker.join()
    train(executor, handler, job(1))
    assert isinstance(handler.outcomes[1], Result)


def test_workers_import_nothing_from_the_working_directory(
    local: Callable[..., LocalExecutor],
    job: Callable[..., Job],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("pickle", "multiprocessing", "torch", "json"):
        (tmp_path / f"{name}.py").write_text(
            f"open({str(tmp_path / 'imported')!r}, 'w')\nraise ImportError\n"
        )
    monkeypatch.chdir(tmp_path)
    handler = RecordingHandler()
    train(local(), handler, job(0))
    assert isinstance(handler.outcomes[0], Result) and not (tmp_path / "imported").exists()


def test_workers_ignore_ctrl_c_sigterm_and_sighup(
    processes: Callable[..., Executor], job: Callable[..., Job]
) -> None:
    def signalled(report: Report) -> Decision:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(int(report.metrics["process"]), number)
        return Decision.CONTINUE

    handler = RecordingHandler(signalled)
    train(processes(), handler, job(0))
    assert isinstance(handler.outcomes[0], Result)


def test_a_worker_that_dies_before_it_is_ready_fails_no_job(
    local: Callable[..., LocalExecutor],
    job: Callable[..., Job],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(fake_runner.NOTE, str(tmp_path / "note"))
    handler = RecordingHandler()
    train(local("dies_once"), handler, job(0))
    assert (tmp_path / "note").exists() and isinstance(handler.outcomes[0], Result)


def test_a_worker_that_dies_before_the_data_is_prepared_is_replaced(
    local: Callable[..., LocalExecutor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(fake_runner.NOTE, str(tmp_path / "note"))
    assert local("dies_once").describe(Describe({}, "fast")).dataset == "ml-100k"
    with pytest.raises(WorkerError, match=r"SIGKILL.* while preparing the data"):
        local("always_dies").describe(Describe({}, "fast"))


@pytest.mark.parametrize(
    ("engine", "kind", "what"),
    [
        ("fast", WorkerError, "preparing the data failed; the reason is not known"),
        ("recbole", UnknownReasonError, "RecBole cannot prepare the data set; the reason is not known"),
    ],
)
def test_the_log_has_the_traceback_of_an_error_that_is_not_known(
    local: Callable[..., LocalExecutor], engine: str, kind: type[TuneError], what: str
) -> None:
    with pytest.raises(kind) as caught:
        local("cannot_prepare").describe(Describe({}, engine))
    assert caught.value.what == what
    log = Path(caught.value.fix.removesuffix(" has the traceback."))
    assert "ZeroDivisionError: by zero" in log.read_text()


@pytest.mark.parametrize(
    ("runner", "message"),
    [("always_dies", "SIGKILL.* before it was ready"), ("cannot_be_made", "no such library")],
)
def test_an_error_if_no_worker_starts(
    local: Callable[..., LocalExecutor], job: Callable[..., Job], runner: str, message: str
) -> None:
    with pytest.raises(WorkerError, match=message):
        train(local(runner), RecordingHandler(), job(0))


def test_a_worker_that_cannot_be_reused_after_a_failure_is_ended(
    local: Callable[..., LocalExecutor], job: Callable[..., Job]
) -> None:
    handler = RecordingHandler()
    train(local(), handler, job(0, "nan"), job(1, "memory"), job(2, "error"), job(3))
    processes = [report.metrics["process"] for report in handler.reports if report.epoch == 1]
    assert processes[0] == processes[1] and len(set(processes)) == 3


def test_a_worker_that_lost_its_gpu_is_ended(
    local: Callable[..., LocalExecutor], job: Callable[..., Job]
) -> None:
    handler = RecordingHandler()
    train(local(), handler, job(0, "died"), job(1))
    first, second = (report.metrics["process"] for report in handler.reports if report.epoch == 1)
    assert first != second and handler.failure(0).kind == FailureKind.WORKER_DIED


def test_a_later_worker_that_finds_no_gpu_does_not_train_on_the_cpu(
    local: Callable[..., LocalExecutor], job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    executor, handler = local("OnGpu"), RecordingHandler()
    assert executor.describe(Describe({}, "fast")).device == "NVIDIA T4"
    train(executor, handler, job(0, "kill"))
    with pytest.raises(WorkerError, match=r"a worker cannot start: torch cannot use GPU 5\n.*resume"):
        train(executor, handler, job(1))


def test_workers_do_not_inherit_the_override_of_tf32(
    local: Callable[..., LocalExecutor], job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TF32_OVERRIDE, "1")
    handler = RecordingHandler()
    train(local(), handler, job(0))
    assert isinstance(handler.outcomes[0], Result)


def test_a_hung_worker_is_killed_and_replaced(
    local: Callable[..., LocalExecutor], job: Callable[..., Job]
) -> None:
    now = 0.0
    executor = local(workers=2, hang_timeout=60, clock=lambda: now)
    handler = RecordingHandler()
    for number in (0, 1):
        executor.submit(job(number, "hang"))
    drive(executor, handler, lambda: len(handler.reports) == 2)
    now = 60.0
    executor.step(handler, 0)
    assert not handler.outcomes
    now = 60.5
    executor.step(handler, 0)
    for number in (0, 1):
        failure = handler.failure(number)
        assert (failure.kind, failure.epochs) == ("hang", 1)
        assert failure.reason == "the worker sent nothing for 1m 00s"
    train(executor, handler, job(2))
    assert isinstance(handler.outcomes[2], Result)


def test_the_hang_timeout_applies_between_messages(
    local: Callable[..., LocalExecutor], job: Callable[..., Job]
) -> None:
    now = 0.0

    def later(report: Report) -> Decision:
        nonlocal now
        now += 50
        return Decision.CONTINUE

    handler = RecordingHandler(later)
    executor = local(hang_timeout=60, clock=lambda: now)
    train(executor, handler, job(0), job(1))
    assert now == 100 * EPOCHS and all(isinstance(outcome, Result) for outcome in handler.outcomes.values())


def test_waiting_for_prepared_data_is_no_hang(
    local: Callable[..., LocalExecutor], job: Callable[..., Job], tmp_path: Path
) -> None:
    now = 0.0
    executor = local(workers=3, hang_timeout=60, clock=lambda: now, shared=tmp_path)
    handler = RecordingHandler()
    for number, act in enumerate(("wait", "have waited", "hang")):
        executor.submit(job(number, act))

    def first_waits() -> bool:
        return any(worker.waiting and 0 in worker.jobs for worker in executor._workers)

    def others_have_ended() -> bool:
        nonlocal now
        now += 61
        return len(handler.outcomes) == 2

    drive(executor, handler, first_waits)
    drive(executor, handler, others_have_ended)
    assert {number: handler.failure(number).kind for number in handler.outcomes} == {1: "hang", 2: "hang"}


def test_workers_use_the_gpus_in_turn(
    local: Callable[..., LocalExecutor], job: Callable[..., Job], study_dir: StudyDirectory
) -> None:
    handler = RecordingHandler()
    executor = local(workers=4, gpus=("0", "1"))
    for number in range(4):
        executor.submit(job(number))
    drive(executor, handler, lambda: len(handler.outcomes) == 4)
    logs = [study_dir.log(number).read_text() for number in range(4)]
    assert logs == [f"trial {number} on card {number % 2}\n" for number in range(4)]


@pytest.mark.parametrize("gpus", [(), ("",), ("0", "1")])
def test_every_worker_has_the_threads_of_its_executor(
    study_dir: StudyDirectory, gpus: tuple[str, ...]
) -> None:
    assert {options.threads for options in LocalExecutor(study_dir, 2, gpus, threads=4)._options} == {4}


def test_the_threads_of_a_worker_are_set_before_torch_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def environment(threads: int, **given: str) -> dict[str, str]:
        monkeypatch.setattr(os, "environ", dict(given))
        set_threads(threads)
        return dict(os.environ)

    passive = {"OMP_WAIT_POLICY": "PASSIVE"}
    counts = {"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "3"}
    assert environment(3, MKL_NUM_THREADS="8") == environment(3) == counts | passive
    assert environment(0, OMP_NUM_THREADS="2") == {"OMP_NUM_THREADS": "2"} | passive
    # The user's own policy stays; a binding would put all workers on the same cores.
    assert environment(3, GOMP_SPINCOUNT="100") == counts | {"GOMP_SPINCOUNT": "100"}
    assert environment(3, OMP_PROC_BIND="true", GOMP_CPU_AFFINITY="0-3") == counts | passive


def test_a_signal_waits_until_a_worker_has_been_started() -> None:
    # A thread that has the signal unblocked, as numpy's: the mask of the main thread does not hold it up.
    ended, reached = threading.Event(), False
    other = threading.Thread(target=ended.wait)
    other.start()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), _signals_held():
            os.kill(os.getpid(), signal.SIGTERM)
            other.join(0.01)
            reached = True
        assert reached and signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)
        ended.set()
        other.join()
