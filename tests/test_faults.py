"""What a search makes of trials that fail, on a real study in SQLite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
import pytest

from sasrecf_tune.distributions import distributions
from sasrecf_tune.messages import Decision, Failure, Job, Report, Result
from sasrecf_tune.ranking import COMPLETE, FAILED
from sasrecf_tune.space import parse

from .conftest import FakeTraining
from .test_search import GRID, bench, cells, quality


class Failing(FakeTraining):
    """Fails in what order and how `plans` says, by the trial's number: a kind an attempt, then well."""

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
        return Failure(job.number, kind, f"made to fail: {kind}", epochs=1, seconds=2.0)

    def attempts(self, number: int) -> list[Job]:
        return [job for job in self.begun if job.number == number]


@pytest.mark.parametrize("kind", ["died", "hang"])
def test_a_trial_that_lost_its_worker_is_tried_again_as_it_was(tmp_path: Path, kind: str) -> None:
    training = Failing({3: [kind]})
    with bench(tmp_path, GRID, training, "tpe", trials=12) as run:
        run.search.run()
        records = run.records()
        attributes = run.study.optuna.trials[3].user_attrs
    first, second = training.attempts(3)
    assert first == second
    assert len(records) == len(set(cells(records))) == 12
    assert all(record.state == COMPLETE for record in records)
    assert attributes["failed_attempts"] == [f"made to fail: {kind}"]


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_it_is_tried_no_more_often_than_asked_for(tmp_path: Path, retries: int) -> None:
    training = Failing({1: ["died"] * 10})
    with bench(tmp_path, GRID, training, retries=retries) as run:
        outcome = run.search.run()
        records = run.records()
    assert len(training.attempts(1)) == retries + 1
    assert (records[1].state, records[1].error) == (FAILED, "made to fail: died")
    assert outcome.done == 12 and sum(record.state == COMPLETE for record in records) == 11


@pytest.mark.parametrize("kind", ["nan", "memory", "error"])
def test_what_a_trial_raises_itself_is_not_tried_again(tmp_path: Path, kind: str) -> None:
    training = Failing({1: [kind]})
    with bench(tmp_path, GRID, training, retries=5) as run:
        run.search.run()
        record = run.records()[1]
    assert len(training.attempts(1)) == 1
    assert (record.state, record.error, record.epochs) == (FAILED, f"made to fail: {kind}", 1)


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
    assert [record.state for record in records].count(FAILED) == 1
    assert records[2].error == "made to fail: hang"


def test_an_attempt_is_not_pruned_for_what_an_earlier_one_reached(tmp_path: Path) -> None:
    space = distributions(parse(GRID))

    def report(epoch: int) -> bool:
        return run.study.report(trial, Report(trial.number, epoch, -1.0, {"mrr@10": -1.0}, 1.0, 0.1))

    with bench(tmp_path, GRID, FakeTraining(quality, epochs=20), pruner="median") as run:
        trial = run.study.optuna.ask(space)
        assert not any(report(epoch) for epoch in range(1, 11))
        run.study.try_again(trial, "made to fail")
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
