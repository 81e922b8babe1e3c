"""The coordinator with a real Optuna study in SQLite and fake training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy import event
from typing_extensions import override

from sasrecf_tune.executors.inline import InlineExecutor
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.settings import RunSettings, Sampler, SearchSettings
from sasrecf_tune.messages import Decision, Failure, FailureKind, Job, Report, Result
from sasrecf_tune.report.study_files import KEPT_CHECKPOINTS
from sasrecf_tune.search.callbacks import Callback
from sasrecf_tune.search.coordinator import Coordinator
from sasrecf_tune.search.limits import Outcome
from sasrecf_tune.search.plan import base_config, make_plan, with_device_note
from sasrecf_tune.storage.files import remove
from sasrecf_tune.trials import State, TrialRecord, rank
from tests.support.bench import ENDLESS, GRID, bench, cells, quality
from tests.support.fake_training import FakeTraining, Interrupting, summary


def test_a_grid_search_runs_every_feasible_cell_once(tmp_path: Path) -> None:
    training = FakeTraining(quality)
    with bench(tmp_path, GRID, training) as run:
        outcome = run.search.run()
        records = run.records()
    # 64 is not divisible by 3 heads: 12 of the 18 cells are feasible.
    assert outcome == Outcome("all 12 trials have ended", 12)
    assert len(set(cells(records))) == len(records) == len(training.jobs) == 12
    assert {record.params["n_heads"] for record in records} == {1, 2}
    assert all(record.state == State.COMPLETE and record.seed == 1 for record in records)
    assert rank(records, True)[0].record.params == {"learning_rate": 0.1, "n_layers": 2} | {
        "n_heads": rank(records, True)[0].record.params["n_heads"]
    }


LARGE = "learning_rate choice [0.1, 0.01, 0.001]\nhidden_dropout_prob quniform 0.001,0.5,0.001\n"


@pytest.mark.parametrize(
    ("text", "sampler", "wanted", "trials"),
    [
        *((GRID, "auto", None, 12), (GRID, "auto", 5, 5), (GRID, "auto", 500, 12), (GRID, "grid", None, 12)),
        *((LARGE, "auto", None, 1000), (LARGE, "grid", None, 1500), (ENDLESS, "auto", None, 1000)),
        *((GRID, "tpe", None, 12), (ENDLESS, "tpe", 7, 7)),
    ],
)
def test_the_number_of_trials_of_a_plan(
    tmp_path: Path, text: str, sampler: Sampler, wanted: int | None, trials: int
) -> None:
    settings = SearchSettings(sampler, "none", wanted)
    space = parse(text)
    full = RunSettings(
        params_file=Path("h"), name="s", base={}, metric=parse_metric("MRR@10"), search=settings
    )
    plan = make_plan(full, space, base_config(full, space), summary())
    assert plan.sampler == ("freeze-thaw" if sampler == "auto" else sampler)
    assert plan.trials == trials


@pytest.mark.parametrize("after", [1, 10, 23])
def test_an_interrupted_trial_runs_again_under_its_number(tmp_path: Path, after: int) -> None:
    with bench(tmp_path / "whole", GRID, FakeTraining(quality)) as run:
        run.search.run()
        whole = run.records()
    with bench(tmp_path / "cut", GRID, Interrupting(quality, after)) as run, pytest.raises(KeyboardInterrupt):
        run.search.run()
    again = FakeTraining(quality)
    with bench(tmp_path / "cut", GRID, again) as run:
        run.search.run()
        assert run.records() == whole
    assert [job.number for job in again.jobs] == list(range((after - 1) // 5, 12))


def test_running_trials_of_a_dead_run_run_again(tmp_path: Path) -> None:
    with bench(tmp_path, GRID, FakeTraining(quality), trials=3) as run:
        run.search.run()
        # As if the process had been killed after asking for a trial.
        left = run.study.optuna.ask()
        assert left.number == 3
    with bench(tmp_path, GRID, FakeTraining(quality)) as run:
        run.search.run()
        records = run.records()
    assert len(records) == len(set(cells(records))) == 12


def test_stop_requeues_the_running_trial(tmp_path: Path) -> None:
    training = FakeTraining(quality)
    with bench(tmp_path, GRID, training) as run:
        original = training.train

        def stopping(job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
            if job.number == 2:
                run.search.stop("stopped by Ctrl-C")
            return original(job, on_report)

        training.train = stopping  # type: ignore[method-assign]
        run.search._executor = InlineExecutor(stopping, training.describe)
        outcome = run.search.run()
        states = [record.state for record in run.records()]
    assert outcome == Outcome("stopped by Ctrl-C", 2, interrupted=True)
    assert states == [State.COMPLETE, State.COMPLETE, "waiting"]


def test_the_timeout_covers_all_runs_of_a_study(tmp_path: Path) -> None:
    class Clock:
        now = 0.0

        def __call__(self) -> float:
            return self.now

    def run_until(limit: float) -> tuple[Outcome, int]:
        clock = Clock()
        training = FakeTraining(quality)

        def slow(job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
            clock.now += 10
            return FakeTraining.train(training, job, on_report)

        training.train = slow  # type: ignore[method-assign]
        with bench(tmp_path, GRID, training, timeout=limit, clock=clock) as run:
            outcome = run.search.run()
            return outcome, sum(record.state == State.COMPLETE for record in run.records())

    assert run_until(25) == (
        Outcome("the time limit (--timeout) is reached", 2, resume_options=" --timeout 50s"),
        2,
    )
    # 30 seconds are spent (the third trial was requeued), so 45 leave room for one more trial.
    assert run_until(45) == (
        Outcome("the time limit (--timeout) is reached", 3, resume_options=" --timeout 1m30s"),
        3,
    )


def test_failed_trials_count_and_record_their_reason(tmp_path: Path) -> None:
    class Failing(FakeTraining):
        def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
            if job.config["learning_rate"] == 0.1:
                return Failure(
                    job.number, FailureKind.NAN, "the training loss became NaN", epochs=1, seconds=2.0
                )
            return super().train(job, on_report)

    with bench(tmp_path, GRID, Failing(quality)) as run:
        run.search.run()
        records = run.records()
    failed = [record for record in records if record.state == State.FAILED]
    assert len(failed) == 4 and all(r.error == "the training loss became NaN" for r in failed)
    assert [row.rank for row in rank(records, True)][-4:] == [None] * 4


def test_nothing_is_selected_on_the_test_set(tmp_path: Path) -> None:
    # FakeTraining's test score is the negative of its validation score: a leak would invert the ranking.
    with bench(tmp_path, GRID, FakeTraining(quality)) as run:
        run.search.run()
        scores = {record.number: record.score for record in run.records()}
        tests = run.study.test_metrics()
        best = rank(run.records(), True)[0].record
        assert run.study.optuna.best_value == best.score == max(s for s in scores.values() if s)
        assert tests[best.number]["mrr@10"] == min(test["mrr@10"] for test in tests.values())
        for name in ("trials.csv", "ranking.csv", "ranking.md", "best.yaml"):
            assert "test" not in (run.study_dir.directory / name).read_text()


def test_a_metric_to_minimize(tmp_path: Path) -> None:
    class Popularity(FakeTraining):
        def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
            result = super().train(job, on_report)
            assert isinstance(result, Result)
            valid = {"averagepopularity@10": self.score(job.config)}
            return Result(**{**vars(result), "valid": valid})

    with bench(tmp_path, GRID, Popularity(quality), metric="AveragePopularity@10") as run:
        run.search.run()
        records = run.records()
        assert run.study.optuna.direction == optuna.study.StudyDirection.MINIMIZE
    best = rank(records, False)[0].record
    assert best.params["learning_rate"] == 0.001 and best.params["n_layers"] == 1


def test_result_files_show_what_the_study_holds(tmp_path: Path) -> None:
    with bench(tmp_path, GRID, FakeTraining(quality), trials=5) as run:
        run.search.run()
        study_dir = run.study_dir
    lines = study_dir.trials.read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["number", "0", "1", "2", "3", "4"]
    study_dir.trials.write_text("damaged")
    with bench(tmp_path, GRID, FakeTraining(quality), trials=6) as run:
        run.search.run()
    again = study_dir.trials.read_text().splitlines()
    assert again[:6] == lines and len(again) == 7
    ranking = study_dir.ranking_csv.read_text().splitlines()
    assert len(ranking) == 7 and ranking[1].startswith("1,")
    assert study_dir.hyper_result.read_text().count("Valid result:") == 6


def test_trials_csv_is_written_at_once_and_other_files_within_seconds(tmp_path: Path) -> None:
    now = 0.0

    class Watching(FakeTraining):
        """Looks at the files when a trial begins; the third takes long."""

        def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
            nonlocal now
            now += 100 if job.number == 2 else 0.1
            seen.append((lines(run.study_dir.trials), lines(run.study_dir.ranking_csv)))
            return super().train(job, on_report)

    def lines(path: Path) -> int:
        return len(path.read_text().splitlines()) - 1

    seen: list[tuple[int, int]] = []
    with bench(tmp_path, GRID, Watching(quality), trials=5, clock=lambda: now) as run:
        run.search.run()
        assert seen == [(0, 0), (1, 0), (2, 0), (3, 3), (4, 3)]
        assert lines(run.study_dir.ranking_csv) == 5


def test_only_the_best_checkpoints_are_kept(tmp_path: Path) -> None:
    class Saving(FakeTraining):
        def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
            job.checkpoint.parent.mkdir(exist_ok=True)
            job.checkpoint.write_bytes(b"weights")
            assert job.resume_file is not None
            job.resume_file.write_bytes(b"to continue from")
            return super().train(job, on_report)

    with bench(tmp_path, GRID, Saving(quality)) as run:
        # As if a worker had saved a trial whose end it has not sent yet.
        unheard_of = {run.study_dir.checkpoint(99), run.study_dir.unfinished(99)}
        run.study_dir.checkpoints.mkdir()
        for path in unheard_of:
            path.touch()
        run.search.run()
        best = [row.record.number for row in rank(run.records(), True)][:KEPT_CHECKPOINTS]
        expected = {run.study_dir.checkpoint(number) for number in best} | unheard_of
        assert set(run.study_dir.checkpoints.iterdir()) == expected
        # As if the coordinator had been killed before it removed files, and a worker while it wrote one.
        run.study_dir.unfinished(best[0]).touch()
        half_written = run.study_dir.checkpoints / ".trial-0001.resume.part"
        half_written.touch()
        assert run.study_dir.leftovers() == [half_written]
        remove(run.study_dir.leftovers())
    with bench(tmp_path, GRID, Saving(quality)) as run:
        assert set(run.study_dir.checkpoints.iterdir()) == expected


def test_patience_ends_a_search_without_a_better_result(tmp_path: Path) -> None:
    # The first trial has the best score, which no other exceeds.
    training = FakeTraining(lambda config: 0.5, epochs=4)
    with bench(tmp_path, GRID, training, patience=2) as run:
        outcome = run.search.run()
    assert outcome.reason == "no better result in 8 epochs of training (--patience 2)"
    assert not outcome.interrupted and not outcome.failed
    assert len(training.jobs) == 3
    # The trials of earlier runs count: the same patience ends the search at once, a larger one later.
    again = FakeTraining(lambda config: 0.5, epochs=4)
    with bench(tmp_path, GRID, again, patience=2) as run:
        assert run.search.run().reason == "no better result in 8 epochs of training (--patience 2)"
    with bench(tmp_path, GRID, again, patience=3) as run:
        assert run.search.run().reason == "no better result in 12 epochs of training (--patience 3)"
    assert len(again.jobs) == 1


def test_a_better_result_resets_patience(tmp_path: Path) -> None:
    scores = iter([0.1, 0.1, 0.2, 0.2, 0.2, 0.9])  # the last is never trained
    training = FakeTraining(lambda config: next(scores), epochs=4)
    with bench(tmp_path, GRID, training, patience=2) as run:
        run.search.run()
        assert [record.score for record in run.records()] == [0.1, 0.1, 0.2, 0.2, 0.2]


def test_result_files_are_written_when_the_database_fails(tmp_path: Path) -> None:
    training = FakeTraining(quality)
    with bench(tmp_path, GRID, training) as run:

        def refuse(*_: object) -> None:
            if len(training.jobs) > 3:
                raise OSError("the disk is full")

        event.listen(run.storage.engine, "before_cursor_execute", refuse)
        with pytest.raises((OSError, StorageInternalError)):
            run.search.run()
        event.remove(run.storage.engine, "before_cursor_execute", refuse)
        ranked = run.study_dir.ranking_csv.read_text().splitlines()
    assert len(ranked) == 1 + 3


def test_a_study_that_continues_on_another_device_has_a_note(tmp_path: Path) -> None:
    with bench(tmp_path, GRID, FakeTraining(quality), trials=2) as run:
        run.search.run()
        assert run.study.devices() == ("cpu",)
        assert with_device_note(run.plan, run.study.devices()) is run.plan
        plan = replace(run.plan, data=replace(run.plan.data, device="NVIDIA H100"))
        note = with_device_note(plan, ("NVIDIA H100", "NVIDIA A100", "cpu")).notes[-1]
    assert "trials were trained on NVIDIA A100 and cpu, those of this run on NVIDIA H100: dropout" in note


def test_a_callback_needs_only_the_methods_that_it_uses(tmp_path: Path) -> None:
    class Scores(Callback):
        def __init__(self) -> None:
            self.reports: list[float] = []
            self.ends: list[float | None] = []

        @override
        def on_report(self, report: Report) -> None:
            self.reports.append(report.score)

    class Ends(Scores):
        @override
        def on_trial_end(self, record: TrialRecord) -> None:
            self.ends.append(record.score)

    reports, both = Scores(), Ends()
    with bench(tmp_path, GRID, FakeTraining(quality), trials=2) as run:
        Coordinator(run.plan, run.study, run.study_dir, run.executor, [reports, both]).run()
        scores = [record.score for record in run.records()]
    assert reports.reports == both.reports and len(both.reports) == 10
    assert not reports.ends and both.ends == scores


def test_a_trial_that_early_stopping_ends_completes_though_the_search_stops(tmp_path: Path) -> None:
    short = FakeTraining(quality, epochs=3)
    with bench(tmp_path, GRID, FakeTraining(quality, epochs=5)) as run:

        def train(job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
            def report(one: Report) -> Decision:
                if one.ends:
                    run.search.stop("stopped by Ctrl-C")
                return on_report(one)

            return short.train(job, report)

        run.executor._train = train
        run.search.run()
        (record,) = run.records()
    assert (record.state, record.epochs) == (State.COMPLETE, 3)
