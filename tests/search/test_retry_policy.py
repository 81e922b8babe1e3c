"""Failed trials in a search with a real study in SQLite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from sasrecf_tune.executors.base import Handler
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.settings import Sampler
from sasrecf_tune.messages import (
    DataSummary,
    Decision,
    Describe,
    Failure,
    FailureKind,
    FusionTiming,
    Job,
    Measure,
    MeasureFusion,
    Report,
    Result,
    Timing,
)
from sasrecf_tune.search.limits import Outcome
from sasrecf_tune.search.retry_policy import MAX_REPEATED_FAILURES
from sasrecf_tune.search.strategies.distributions import distributions
from sasrecf_tune.trials import State
from tests.support.bench import ENDLESS, GRID, bench, cells, quality
from tests.support.fake_training import FakeTraining, summary


class RollBackError(Exception):
    """Ends a transaction as a lost connection does."""


class Failing(FakeTraining):
    """Fails as `plans` says: by the number of the trial, the kind of failure of each of its attempts."""

    def __init__(self, plans: dict[int, Sequence[str]], epochs: int = 5) -> None:
        super().__init__(quality, epochs)
        self.plans = {number: list(kinds) for number, kinds in plans.items()}
        self.begun: list[Job] = []

    def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
        self.begun.append(job)
        kinds = self.plans.get(job.number, [])
        kind = kinds.pop(0) if kinds else ""
        if not kind:
            return super().train(job, on_report)
        on_report(Report(job.number, 1, 0.0, {"mrr@10": 0.0}, train_loss=1.0, seconds=0.1))
        if kind == "interrupt":
            raise KeyboardInterrupt
        return Failure(job.number, FailureKind(kind), f"made to fail: {kind}", epochs=1, seconds=2.0)

    def attempts(self, number: int) -> list[Job]:
        return [job for job in self.begun if job.number == number]


@pytest.mark.parametrize("kind", ["died", "hang"])
def test_a_trial_whose_worker_died_is_retried_with_its_configuration(tmp_path: Path, kind: str) -> None:
    training = Failing({3: [kind]})
    with bench(tmp_path, GRID, training, "tpe", trials=12) as run:
        run.search.run()
        records = run.records()
        attributes = run.study.optuna.trials[3].user_attrs
    first, second = training.attempts(3)
    # But not fused with other trials.
    assert replace(first, alone=True, known=1) == second
    assert len(records) == len(set(cells(records))) == 12
    assert all(record.state == State.COMPLETE for record in records)
    assert attributes["failed_attempts"] == [f"made to fail: {kind}"]


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_retries_limits_the_attempts_of_a_trial(tmp_path: Path, retries: int) -> None:
    training = Failing({1: ["died"] * 10})
    with bench(tmp_path, GRID, training, retries=retries) as run:
        outcome = run.search.run()
        records = run.records()
    assert len(training.attempts(1)) == retries + 1
    assert (records[1].state, records[1].error) == (State.FAILED, "made to fail: died")
    assert outcome.done == 12 and sum(record.state == State.COMPLETE for record in records) == 11


@pytest.mark.parametrize("retries", [0, 1])
def test_a_failure_of_trials_in_one_worker_is_no_attempt_of_each(tmp_path: Path, retries: int) -> None:
    first = Failing({1: ["together", "interrupt"]})
    with bench(tmp_path, GRID, first, retries=retries) as run, pytest.raises(KeyboardInterrupt):
        run.search.run()
    assert [job.alone for job in first.attempts(1)] == [False, True]
    training = Failing({1: ["died"] * 3})
    with bench(tmp_path, GRID, training, retries=retries) as run:
        run.search.run()
        record = run.records()[1]
    assert len(training.attempts(1)) == retries + 1 and all(job.alone for job in training.attempts(1))
    assert (record.state, record.error) == (State.FAILED, "made to fail: died")


@pytest.mark.parametrize("kind", ["nan", "memory", "error"])
def test_errors_of_the_trial_itself_are_not_retried(tmp_path: Path, kind: str) -> None:
    training = Failing({1: [kind]})
    with bench(tmp_path, GRID, training, retries=5) as run:
        run.search.run()
        record = run.records()[1]
    assert len(training.attempts(1)) == 1
    assert (record.state, record.error, record.epochs) == (State.FAILED, f"made to fail: {kind}", 1)


def test_failed_attempts_are_counted_over_runs(tmp_path: Path) -> None:
    with (
        bench(tmp_path, GRID, Failing({2: ["died", "interrupt"]})) as run,
        pytest.raises(KeyboardInterrupt),
    ):
        run.search.run()
    training = Failing({2: ["hang", "died"]})
    with bench(tmp_path, GRID, training) as run:
        run.search.run()
        records = run.records()
    assert len(training.attempts(2)) == 1
    assert [record.state for record in records].count(State.FAILED) == 1
    assert records[2].error == "made to fail: hang"


def test_a_transaction_that_is_repeated_counts_a_failed_attempt_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may roll a transaction back; Optuna's copy of the trial keeps its values."""
    with bench(tmp_path, GRID, Failing({})) as run:
        study = run.study
        trial = study.ask(distributions(parse(GRID)), lambda _: {})
        assert trial is not None
        transact = study.storage.transact

        def repeated(change: Callable[[], bool]) -> bool:
            with pytest.raises(RollBackError), study.storage.transaction():
                change()
                raise RollBackError
            return transact(change)

        monkeypatch.setattr(study.storage, "transact", repeated)
        assert study.retry(trial, Failure(trial.number, FailureKind.FUSED, "died")) == 1
        assert study.failed_alone(trial) == 0
        monkeypatch.undo()


def test_a_retry_is_not_pruned_by_the_epochs_of_an_earlier_attempt(tmp_path: Path) -> None:
    space = distributions(parse(GRID))

    def report(epoch: int) -> bool:
        return run.study.report(trial, Report(trial.number, epoch, -1.0, {"mrr@10": -1.0}, 1.0, 0.1))

    with bench(tmp_path, GRID, FakeTraining(quality, epochs=20), pruner="median") as run:
        trial = run.study.optuna.ask(space)
        assert not any(report(epoch) for epoch in range(1, 11))
        run.study.retry(trial, Failure(trial.number, FailureKind.WORKER_DIED, "made to fail"))
        better = {"learning_rate": 0.1, "n_layers": 2, "n_heads": 1}
        for _ in range(5):
            values = dict.fromkeys(range(1, 21), 1.0)
            run.study.optuna.add_trial(
                optuna.trial.create_trial(
                    params=better, distributions=space, value=1.0, intermediate_values=values
                )
            )
        trial = run.study.optuna.ask(space)
        assert trial.number == 0
        assert next(epoch for epoch in range(1, 13) if report(epoch)) == 11


@pytest.mark.parametrize("sampler", ["auto", "tpe", "random"])
@pytest.mark.parametrize("text", [GRID, ENDLESS])
def test_a_cell_that_ran_out_of_memory_is_not_proposed_again(
    tmp_path: Path, sampler: Sampler, text: str
) -> None:
    class TooLarge(Failing):
        def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
            if job.config["n_layers"] > 1:
                self.begun.append(job)
                return Failure(job.number, FailureKind.MEMORY, "out of memory: tried to allocate 9 GiB")
            return super().train(job, on_report)

    begun: list[Job] = []
    for trials in (4, 7, 12):
        training = TooLarge({})
        with bench(tmp_path, text, training, sampler, trials=trials) as run:
            run.search.run()
            records = run.records()
        begun += training.begun
    tried = [tuple(job.config[name] for name in ("learning_rate", "n_layers", "n_heads")) for job in begun]
    if sampler == "auto":  # it pauses trials, which train from the beginning again here, and ends by itself
        tried = [cell for cell in tried if cell[1] > 1]
    else:
        assert len(tried) == 12
    assert len(tried) == len(set(tried))
    failed = [record for record in records if record.state == State.FAILED]
    assert failed and all(record.error.startswith("out of memory") for record in failed)


def test_fail_fast_ends_the_search_with_the_first_failure(tmp_path: Path) -> None:
    with bench(tmp_path, GRID, Failing({2: ["nan"]}), fail_fast=True) as run:
        outcome = run.search.run()
    assert outcome == Outcome(
        "trial 2 failed, and --fail-fast was given: made to fail: nan", 3, interrupted=False, failed=True
    )


def test_fail_fast_ignores_failures_that_are_retried(tmp_path: Path) -> None:
    with bench(tmp_path, GRID, Failing({2: ["died"]}), fail_fast=True) as run:
        assert not run.search.run().failed


def numbered(kind: str) -> dict[int, Sequence[str]]:
    return {number: [kind] for number in range(12)}


def test_the_search_ends_if_all_trials_fail_for_one_reason(tmp_path: Path) -> None:
    class Varying(Failing):
        def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
            failure = super().train(job, on_report)
            assert isinstance(failure, Failure)
            return replace(failure, reason=f"tried to allocate {job.number}.25 GiB")

    for total in (MAX_REPEATED_FAILURES, 2 * MAX_REPEATED_FAILURES):  # the second run tries again
        with bench(tmp_path, GRID, Varying(numbered("memory"))) as run:
            outcome = run.search.run()
        assert (outcome.done, outcome.failed) == (total, True)
        reason = f"failed for the same reason: tried to allocate {total - 1}.25 GiB"
        assert f"the last {MAX_REPEATED_FAILURES} {reason}" in outcome.reason


def test_failures_of_several_kinds_do_not_end_the_search(tmp_path: Path) -> None:
    plans = numbered("nan") | {number: ["memory"] for number in range(0, 12, MAX_REPEATED_FAILURES - 1)}
    with bench(tmp_path, GRID, Failing(plans)) as run:
        outcome = run.search.run()
    assert outcome == Outcome("all 12 trials have ended", 12)


def test_errors_whose_reason_is_not_known_are_told_apart(tmp_path: Path) -> None:
    class Unknown(Failing):
        def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
            failure = super().train(job, on_report)
            assert isinstance(failure, Failure)
            return replace(failure, error="KeyError: a" if job.number % 2 else f"ValueError: {job.number}")

    with bench(tmp_path, GRID, Unknown(numbered("error"))) as run:
        assert run.search.run() == Outcome("all 12 trials have ended", 12)


def test_failures_after_a_success_do_not_end_the_search(tmp_path: Path) -> None:
    with bench(tmp_path, GRID, Failing({}), trials=1) as run:
        run.search.run()
    with bench(tmp_path, GRID, Failing(numbered("nan"))) as run:
        outcome = run.search.run()
    assert outcome == Outcome("all 12 trials have ended", 12)


class Silent:
    """An executor whose jobs never report; each step takes a minute."""

    def __init__(self, slots: int) -> None:
        self.free = self.slots = slots
        self.notify: Callable[[str], None] = lambda _: None
        self.now = 0.0
        self.steps = 0
        self.on_step: Callable[[], None] = lambda: None

    def describe(self, request: Describe) -> DataSummary:
        return summary()

    def measure(self, request: Measure) -> Timing:
        raise NotImplementedError

    def measure_fusion(self, request: MeasureFusion) -> FusionTiming:
        raise NotImplementedError

    def submit(self, job: Job) -> None:
        self.free -= 1

    def withdraw(self) -> list[int]:
        return []

    def step(self, handler: Handler, timeout: float) -> None:
        self.steps += 1
        self.now += 60
        self.on_step()

    def close(self) -> None:
        pass


def test_sigterm_requeues_trials_whose_epoch_outlasts_the_grace_period(tmp_path: Path) -> None:
    silent = Silent(2)

    def stop() -> None:
        if silent.steps == 5:
            run.search.stop("stopped by SIGTERM", grace=150)

    silent.on_step = stop
    with bench(tmp_path, GRID, FakeTraining(quality), clock=lambda: silent.now) as run:
        run.search._executor = silent
        outcome = run.search.run()
        states = [record.state for record in run.records()]
        spent = run.study.seconds_spent()
    assert outcome == Outcome("stopped by SIGTERM", 0, interrupted=True)
    assert (silent.steps, spent) == (5 + 3, 480)
    assert states == ["waiting", "waiting"]


def test_ctrl_c_waits_for_the_epoch_without_a_limit(tmp_path: Path) -> None:
    silent = Silent(1)

    def stop() -> None:
        run.search.stop("stopped by Ctrl-C")
        if silent.steps == 1000:
            raise KeyboardInterrupt  # the second

    silent.on_step = stop
    with bench(tmp_path, GRID, FakeTraining(quality), clock=lambda: silent.now) as run:
        run.search._executor = silent
        with pytest.raises(KeyboardInterrupt):
            run.search.run()
        assert [record.state for record in run.records()] == ["waiting"]
