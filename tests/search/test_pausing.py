"""A policy pauses and continues trials: with a real Optuna study in SQLite and fake training."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from sasrecf_tune.analysis.budget import budget
from sasrecf_tune.report.terminal.end_summary import show_end
from sasrecf_tune.report.terminal.plan_summary import show_plan
from sasrecf_tune.search.coordinator import Coordinator
from sasrecf_tune.search.limits import Outcome
from sasrecf_tune.search.patience import Patience
from sasrecf_tune.search.policy import Curve, CurveState, Finish, SearchPolicy, Step
from sasrecf_tune.search.trial_attributes import PAUSED
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.trials import State, TrialRecord, rank
from tests.support.bench import Bench, bench, quality
from tests.support.fake_training import FakeTraining, PausableTraining

SMALL = "learning_rate choice [0.1, 0.01, 0.001]\nn_layers choice [1, 2]\n"
# The epochs of a search: 6 cells for one epoch each, then 3, 1, 1 and 1 of them for one more.
EPOCHS = 6 + 3 + 1 + 1 + 1


def _search(directory: Path, training: FakeTraining, **options: object) -> tuple[Outcome, list[TrialRecord]]:
    with bench(directory, SMALL, training, pausing=True, **options) as run:  # type: ignore[arg-type]
        return run.search.run(), run.records()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[TrialRecord]:
    """The trials of a search that nothing disturbs."""
    return _search(tmp_path_factory.mktemp("whole"), PausableTraining(quality))[1]


def test_a_policy_pauses_and_continues_trials(tmp_path: Path) -> None:
    training = PausableTraining(quality)
    outcome, records = _search(tmp_path, training)
    assert outcome == Outcome("the best trial is trained to its end", 1, converged=True)
    assert len(training.trained) == len(set(training.trained)) == EPOCHS
    (complete,) = [record for record in records if record.state == State.COMPLETE]
    assert complete.epochs == 5 and complete.params["learning_rate"] == 0.1
    paused = [record for record in records if record.state == State.PAUSED]
    assert sorted(record.epochs for record in paused) == [1, 1, 1, 2, 2]
    assert all(record.score == record.valid["mrr@10"] and record.seconds > 0 for record in paused)


@pytest.mark.parametrize("after", [0, 3, 6, 7, 9, 11])
def test_a_kill_changes_nothing(tmp_path: Path, whole: list[TrialRecord], after: int) -> None:
    training = PausableTraining(quality, left=after)
    with pytest.raises(KeyboardInterrupt):
        _search(tmp_path / "cut", training)
    again = PausableTraining(quality)
    _, records = _search(tmp_path / "cut", again)
    assert records == whole
    # The trial that was in training has lost its epochs since its last checkpoint, and no other has.
    number, epoch = training.trained[-1]
    repeated = set(training.trained) & set(again.trained)
    assert {trial for trial, _ in repeated} <= {number} and (number, epoch) in again.trained


def test_dropped_checkpoints_are_of_the_weakest_and_their_trials_begin_anew(
    tmp_path: Path, whole: list[TrialRecord]
) -> None:
    training = PausableTraining(quality)
    _, records = _search(tmp_path / "small", training, keep_paused=2)  # bytes: two checkpoints of one
    assert records == whole
    kept = {path.name for path in (tmp_path / "small" / "study" / "checkpoints").glob("*.resume")}
    best = sorted((r for r in records if r.state == State.PAUSED), key=lambda r: (-(r.score or 0), r.number))
    assert kept and kept == {f"trial-{record.number:04d}.resume" for record in best[: len(kept)]}
    assert len(training.trained) > len(set(training.trained)) == EPOCHS
    none = PausableTraining(quality)
    _, records = _search(tmp_path / "none", none, keep_paused=0)
    assert records == whole
    assert not list((tmp_path / "none" / "study" / "checkpoints").glob("*.resume"))


def test_a_lower_limit_on_disk_space_holds_from_the_start(tmp_path: Path) -> None:
    _search(tmp_path, PausableTraining(quality), trials=4)
    files = StudyDirectory(tmp_path / "study").checkpoints
    assert len(list(files.glob("*.resume"))) == 4
    with bench(tmp_path, SMALL, PausableTraining(quality), pausing=True, trials=4, keep_paused=1) as run:
        (kept,) = files.glob("*.resume")
        best = max(run.records(), key=lambda record: (record.score or 0, -record.number))
        assert kept == run.study_dir.unfinished(best.number)


def test_patience_counts_the_scores_of_paused_trials() -> None:
    patience = Patience(1, epochs=3, maximize=True)
    for score, epochs, exhausted in ((0.5, 2, False), (0.6, 2, False), (0.4, 1, True)):
        patience.add_result(TrialRecord(0, State.PAUSED, {}, score))
        patience.add_epochs(epochs)
        assert patience.exhausted is exhausted


def test_trials_are_saved_when_the_search_is_interrupted(tmp_path: Path) -> None:
    training = PausableTraining(quality)
    _search(tmp_path, training)
    assert all(job.checkpoint_every > job.config.get("epochs", 0) for job in training.jobs)


def test_rankings_and_reports_have_paused_trials(tmp_path: Path, whole: list[TrialRecord]) -> None:
    rows = rank(whole, maximize=True)
    assert [row.record.state for row in rows] == [State.COMPLETE] + [State.PAUSED] * 5
    assert [row.rank for row in rows] == [1] + [None] * 5
    assert [share.state for share in budget(whole)] == [State.COMPLETE, State.PAUSED]
    _search(tmp_path, PausableTraining(quality))
    study_dir = StudyDirectory(tmp_path / "study")
    assert study_dir.ranking_csv.read_text().count(",paused,") == 5
    assert len(study_dir.trials.read_text().splitlines()) == 2  # those that have ended, below the header


def test_the_end_says_how_many_trials_are_paused(tmp_path: Path) -> None:
    text = io.StringIO()
    console = Console(file=text, width=200)
    with bench(tmp_path, SMALL, PausableTraining(quality), pausing=True, trials=4) as run:
        outcome = run.search.run()
        show_end(run.plan, run.study_dir, run.records(), outcome, None, console)
        show_plan(run.plan, run.study_dir, console, done=0, again=1, paused=4)
    assert "4 trials left (4 paused). To continue:" in text.getvalue()
    assert "0 of 4 trials have ended, 4 paused, 1 interrupted and to be run again" in text.getvalue()


def test_reports_that_are_known_are_not_recorded_again(tmp_path: Path) -> None:
    with bench(tmp_path, SMALL, PausableTraining(quality), pausing=True, keep_paused=0) as run:
        run.search.run()
        with run.storage.engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT trial_id, step FROM trial_intermediate_values").all()
    assert len(rows) == len(set(rows)) == EPOCHS


def test_an_interrupted_trial_goes_on_before_the_policy_is_asked(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _search(tmp_path, PausableTraining(quality, left=3))
    training = PausableTraining(quality)
    with bench(tmp_path, SMALL, training, pausing=True) as run:
        assert [record.state for record in run.records()] == [State.PAUSED] * 3 + [State.WAITING]
        run.search.run()
    assert training.jobs[0].number == 3


def test_a_sampler_takes_paused_trials_from_the_queue(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _search(tmp_path, PausableTraining(quality, left=4))
    training = PausableTraining(quality)
    with bench(tmp_path, SMALL, training, sampler="tpe") as run:
        run.search.run()
        records = run.records()
        assert all(not trial.user_attrs.get(PAUSED) for trial in run.study.trials())
    assert len(records) == 6 and all(record.state == State.COMPLETE for record in records)
    assert [job.number for job in training.jobs] == list(range(6))
    assert (0, 1) not in training.trained  # it went on from its checkpoint


class Recording(SearchPolicy):
    """Trains one trial an epoch at a time, and remembers what it was asked."""

    def __init__(self, cell: dict[str, object]) -> None:
        self.cell = cell
        self.asked: list[list[Curve]] = []

    def next_step(self, curves: Sequence[Curve]) -> Step | Finish:
        self.asked.append(list(curves))
        if not curves:
            return Step(dict(self.cell), 2)  # type: ignore[arg-type]
        last = max(curves[0].scores)
        if curves[0].state == CurveState.RUNNING:
            return Step(curves[0].labels, 3, 0) if last < 3 else Finish("paused at 3")
        return Step(curves[0].labels, 5, 0) if len(self.asked) == 4 else Finish("enough")


def _recorded(run: Bench) -> Recording:
    assert run.plan.cells is not None
    return Recording(dict(run.plan.cells()[0]))


def test_what_a_policy_is_asked(tmp_path: Path) -> None:
    with bench(tmp_path, SMALL, PausableTraining(quality)) as run:
        policy = _recorded(run)
        search = Coordinator(run.plan, run.study, run.study_dir, run.executor, [], policy=policy)
        outcome = search.run()
        records = run.records()
    assert outcome.reason == "enough"
    none, at_2, at_3, paused, ended = policy.asked
    assert none == []
    ((first,), (second,), (third,), (last,)) = at_2, at_3, paused, ended
    assert (first.state, first.until, sorted(first.scores)) == (CurveState.RUNNING, 2, [1, 2])
    assert (second.state, second.until, round(second.seconds, 3)) == (CurveState.RUNNING, 3, 0.3)
    assert (third.state, third.checkpoint, round(third.seconds, 3)) == (CurveState.PAUSED, 3, 0.3)
    assert (last.state, sorted(last.scores)) == (CurveState.ENDED, [1, 2, 3, 4, 5])
    assert first.labels == policy.cell and records[0].state == State.COMPLETE


def test_ctrl_c_leaves_paused_trials_paused(tmp_path: Path, whole: list[TrialRecord]) -> None:
    training = PausableTraining(quality)
    with bench(tmp_path, SMALL, training, pausing=True) as run:
        original = training.train

        def train(job, on_report):  # type: ignore[no-untyped-def]
            def report(one):  # type: ignore[no-untyped-def]
                if len(training.trained) == 5:
                    run.search.stop("stopped by Ctrl-C")
                return on_report(one)

            return original(job, report)

        run.executor._train = train
        outcome = run.search.run()
        states = [record.state for record in run.records()]
    assert outcome == Outcome("stopped by Ctrl-C", 0, interrupted=True)
    assert states == [State.PAUSED] * 4 + [State.WAITING]
    again = PausableTraining(quality)
    _, records = _search(tmp_path, again)
    assert records == whole


def test_no_more_trials_begin_than_were_asked_for(tmp_path: Path) -> None:
    outcome, records = _search(tmp_path, PausableTraining(quality), trials=4)
    assert outcome == Outcome("all 4 trials have begun", 0)
    assert [record.state for record in records] == [State.PAUSED] * 4
