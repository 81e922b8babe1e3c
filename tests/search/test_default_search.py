"""The default search through the coordinator, with made-up training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState, create_trial

from sasrecf_tune.messages import Decision, Failure, Job, Report, Result
from sasrecf_tune.trials import State, TrialRecord
from tests.support.bench import ENDLESS, GRID, bench, cells, quality
from tests.support.fake_training import PausableTraining


def searched(directory: Path, text: str = GRID, **options: object) -> tuple[str, list[TrialRecord]]:
    with bench(directory, text, PausableTraining(quality, 12), "auto", **options) as run:  # type: ignore[arg-type]
        outcome = run.search.run()
        return outcome.reason, run.records()


def test_it_pauses_trials_and_ends_by_itself(tmp_path: Path) -> None:
    reason, records = searched(tmp_path)
    assert reason.startswith("expected regret ")
    assert len(set(cells(records))) == len(records)
    assert any(record.state == State.PAUSED for record in records)
    complete = [record for record in records if record.state == State.COMPLETE]
    assert max(complete, key=lambda record: record.score or 0).params["learning_rate"] == 0.1
    assert all(record.params["n_heads"] != 3 for record in records)


def test_until_never_trains_all_configurations_to_their_end(tmp_path: Path) -> None:
    reason, records = searched(tmp_path, until=0.0)
    assert reason == "all 12 trials have ended"
    assert [record.state for record in records] == [State.COMPLETE] * 12


@pytest.mark.parametrize("text", [GRID, ENDLESS])
def test_an_interrupted_search_has_the_trials_of_an_uninterrupted_one(tmp_path: Path, text: str) -> None:
    with bench(tmp_path / "one", text, PausableTraining(quality, 6), "auto", trials=8) as run:
        run.search.run()
        whole = run.records()
    cut = PausableTraining(quality, 6, left=9)
    with bench(tmp_path / "cut", text, cut, "auto", trials=8) as run, pytest.raises(KeyboardInterrupt):
        run.search.run()
    with bench(tmp_path / "cut", text, PausableTraining(quality, 6), "auto", trials=8) as run:
        run.search.run()
        resumed = run.records()
    assert [record.params for record in resumed] == [record.params for record in whole]
    assert [(record.state, record.score) for record in resumed] == [(one.state, one.score) for one in whole]


class TimedTraining(PausableTraining):
    """Training that takes a second an epoch."""

    now = 0.0

    def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
        def later(report: Report) -> Decision:
            self.now += 0.0 if report.continues_after else 1.0
            return on_report(report)

        result = super().train(job, later)
        return replace(result, seconds=float(result.epochs))

    def _report(self, job: Job, curve: list[float], epoch: int, continues_after: int = 0) -> Report:
        report = super()._report(job, curve, epoch, continues_after)
        return replace(report, seconds=float(epoch))


@pytest.mark.parametrize(("timeout", "until"), [(20, 0.5), (40, 0.0)])
def test_the_best_trial_is_trained_to_its_end_before_the_time_is_up(
    tmp_path: Path, timeout: float, until: float
) -> None:
    training = TimedTraining(quality, 12)
    options = {"timeout": timeout, "until": until, "clock": lambda: training.now}
    with bench(tmp_path, GRID, training, "auto", **options) as run:  # type: ignore[arg-type]
        run.search.run()
        records = run.records()
    assert training.now <= timeout
    assert any(record.state == State.PAUSED for record in records)
    complete = [quality(record.params) for record in records if record.state == State.COMPLETE]
    assert max(complete) >= 0.95 * max(quality(record.params) for record in records)


def test_patience_ends_with_the_best_trial_trained_to_its_end(tmp_path: Path) -> None:
    reason, records = searched(tmp_path, patience=1, until=0.0)
    assert reason.startswith("no better result in ")
    assert any(record.state == State.PAUSED for record in records)
    best = max(records, key=lambda record: quality(record.params))
    assert best.state == State.COMPLETE


@pytest.mark.parametrize(("trials", "until"), [(1, 0.5), (3, 0.5), (2, 0.0)])
def test_a_limit_on_trials_leaves_a_complete_one(tmp_path: Path, trials: int, until: float) -> None:
    _, records = searched(tmp_path, trials=trials, until=until)
    assert len(records) == trials
    best = max(records, key=lambda record: quality(record.params))
    assert best.state == State.COMPLETE
    if not until:
        assert {record.state for record in records} == {State.COMPLETE}


def test_trials_that_never_began_do_not_use_up_the_limit(tmp_path: Path) -> None:
    with bench(tmp_path, GRID, PausableTraining(quality), "auto", trials=3) as run:
        run.study.optuna.add_trial(create_trial(state=TrialState.FAIL))  # as a sampler without a proposal
        run.search.run()
        states = [record.state for record in run.records()]
    assert states[0] == State.FAILED and len(states) == 4
    assert State.COMPLETE in states
