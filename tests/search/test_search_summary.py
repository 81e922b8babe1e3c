"""What the default search finds is recorded, and its predictions choose: with made-up training."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sasrecf_tune.analysis.confirmation import best_configurations
from sasrecf_tune.analysis.search_summary import SearchSummary
from sasrecf_tune.analysis.winner import pick_winner
from sasrecf_tune.report.study_files import KEPT_CHECKPOINTS, ResultFiles
from sasrecf_tune.report.terminal.end_summary import show_end
from sasrecf_tune.search.limits import Outcome
from sasrecf_tune.search.search_attributes import (
    SUMMARY,
    read_summary,
    shortened,
    summary_attribute,
)
from sasrecf_tune.search.study_setup import planned_study
from sasrecf_tune.storage.database.errors import CorruptStudyError
from sasrecf_tune.trials import Prediction, State, TrialRecord, rank
from tests.support.bench import GRID, Bench, bench, quality
from tests.support.fake_training import PausableTraining

VALID: dict[str, Any] = {
    "predictions": [[0, 0.1, 0.01]],
    "completed": 1,
    "regret": 0.4,
    "seed_deviation": 0.001,
    "untried": None,
    "untried_gain": 0.1,
    "share": 0.5,
}


@pytest.fixture
def ended(tmp_path: Path) -> Iterator[Bench]:
    """A search that has ended by itself."""
    with bench(tmp_path, GRID, PausableTraining(quality, 12), "auto") as run:
        run.search.run()
        yield run


@pytest.fixture
def covered(tmp_path: Path) -> Iterator[Bench]:
    """A search that has trained several configurations to their end."""
    with bench(tmp_path, GRID, PausableTraining(quality, 4), "auto", trials=5, until=0.0) as run:
        run.search.run()
        yield run


def choose(run: Bench, number: int) -> SearchSummary:
    """Record predictions of which that of the trial is the best."""
    means = {r.number: Prediction(0.5 + (r.number == number) / 10, 0.01) for r in run.study.records()}
    summary = SearchSummary(means, len(means), 0.4, 0.01, 7, 0.02)
    run.study.record_summary(summary)
    return summary


def last_lines(run: Bench, outcome: Outcome, width: int = 200) -> str:
    records = run.study.records()
    winner = pick_winner(records, None, True, 1e-4)
    said = io.StringIO()
    console = Console(file=said, width=width)
    show_end(run.plan, run.study_dir, records, outcome, winner, console, run.study.current_summary())
    return said.getvalue()


def test_a_search_records_predictions_and_its_regret(ended: Bench) -> None:
    summary, records = ended.study.summary, ended.study.records()
    assert summary is not None and summary.regret < 1 and summary.seed_deviation > 0
    assert summary.untried == 12 - len(records)
    assert {r.number for r in records if r.predicted} == set(summary.predictions)
    first, *others = rank(records, maximize=True)
    assert first.record.state == State.COMPLETE and first.record.predicted is not None
    assert all(
        one.record.predicted is None or one.record.predicted.mean <= first.record.predicted.mean
        for one in others
        if one.rank
    )
    assert f"trial {first.record.number} of the study" in ended.study_dir.best.read_text()


def test_a_search_that_is_interrupted_records_what_it_knows(tmp_path: Path) -> None:
    training = PausableTraining(quality, 12, left=9)
    with bench(tmp_path, GRID, training, "auto") as run, pytest.raises(KeyboardInterrupt):
        run.search.run()
    with bench(tmp_path, GRID, PausableTraining(quality, 12), "auto") as run:
        records = run.study.records()
        assert any(record.predicted for record in records if record.state == State.PAUSED)
        # A trial that was interrupted is not listed.
        assert all(record.predicted is None for record in records if record.state == State.WAITING)


def test_the_choice_may_have_a_lower_score_than_others(covered: Bench) -> None:
    lowest = min(covered.study.records(), key=lambda record: record.score or 0.0)
    choose(covered, lowest.number)
    records = covered.study.records()
    assert rank(records, maximize=True)[0].record.number == lowest.number
    winner = pick_winner(records, None, True, 1e-4)
    assert winner is not None and winner.trial == lowest.number
    assert next(iter(best_configurations(records, True, 3))) == lowest.number
    ResultFiles(covered.study_dir, covered.plan, covered.study)
    directory = covered.study_dir
    assert f"trial {lowest.number} of the study study: best predicted" in directory.best.read_text()
    header, first, *_ = directory.ranking_csv.read_text().splitlines()
    row = dict(zip(header.split(","), first.split(","), strict=True))
    assert (row["rank"], row["number"]) == ("1", str(lowest.number))
    assert (row["predicted"], row["predicted_sd"]) == ("0.6", "0.01")
    why = f"than trial {lowest.number}, but by all learning curves it is expected to score 0.5000"
    assert why in directory.ranking_md.read_text()
    assert why in last_lines(covered, Outcome("all 5 trials have ended", 5))


def test_weights_of_all_that_may_become_the_best_stay_until_the_search_has_ended(covered: Bench) -> None:
    paths = [covered.study_dir.checkpoint(record.number) for record in covered.study.records()]
    covered.study_dir.checkpoints.mkdir(exist_ok=True)
    for path in paths:
        path.touch()
    ranked = [row.record.number for row in rank(covered.study.records(), maximize=True)]
    # As after a kill between a trial's end and the predictions that follow from it.
    summary = choose(covered, ranked[-1])
    covered.study.record_summary(replace(summary, completed=4))
    ResultFiles(covered.study_dir, covered.plan, covered.study)
    assert all(path.exists() for path in paths)
    choose(covered, ranked[-1])
    files = ResultFiles(covered.study_dir, covered.plan, covered.study)
    files.on_search_end()
    assert all(path.exists() for path in paths)
    files.drop_weights()
    best = [row.record.number for row in rank(covered.study.records(), maximize=True)][:KEPT_CHECKPOINTS]
    assert best[0] == ranked[-1]
    assert set(covered.study_dir.saved()) == {paths[number] for number in best}


def test_predictions_from_before_a_trial_completed_are_not_used(covered: Bench) -> None:
    lowest = min(covered.study.records(), key=lambda record: record.score or 0.0)
    summary = choose(covered, lowest.number)
    covered.study.record_summary(replace(summary, completed=4))
    records = covered.study.records()
    best = max(records, key=lambda record: record.score or 0.0)
    assert rank(records, maximize=True)[0].record == best and best.predicted is None
    assert covered.study.current_summary() is None


def test_predictions_of_trials_that_do_not_exist_are_ignored(covered: Bench) -> None:
    summary = choose(covered, 0)
    covered.study.record_summary(replace(summary, predictions={99: Prediction(1.0, 0.1)}))
    records = covered.study.records()
    best = max(records, key=lambda record: record.score or 0.0)
    assert rank(records, maximize=True)[0].record == best


@pytest.mark.parametrize(
    "change",
    [
        {"predictions": [[0, "high", 0.1]]},
        {"predictions": [[-1, 0.1, 0.1]]},
        {"predictions": [[0, math.nan, 0.1]]},
        {"predictions": [[0, 0.1, -0.1]]},
        {"predictions": [[0, 0.1, 0.1]] * 5000},
        {"completed": True},
        {"regret": math.inf},
        {"seed_deviation": -1.0},
        {"untried": "many"},
        {"untried_gain": "much"},
    ],
)
def test_an_attribute_of_somebody_else_is_refused_with_one_message(
    covered: Bench, change: dict[str, Any]
) -> None:
    covered.study.optuna.set_user_attr(SUMMARY, VALID | change)
    with pytest.raises(CorruptStudyError, match=SUMMARY):
        planned_study(covered.plan, covered.study_dir, covered.storage)


@pytest.mark.parametrize("attribute", [1, "text", [], {}, {**VALID, "regret": "x"}])
def test_what_is_no_summary_is_refused(attribute: object) -> None:
    with pytest.raises(CorruptStudyError):
        read_summary(attribute)


def test_a_summary_is_read_as_it_was_written() -> None:
    summary = read_summary(VALID)
    assert summary is not None and summary_attribute(summary) == VALID
    assert read_summary({**VALID, "more": 1}) == summary


def test_a_search_with_few_complete_trials_is_over_at_a_smaller_regret() -> None:
    summary = read_summary(VALID)
    assert summary is not None
    assert summary.is_over(0.9) and not summary.is_over(0.7) and not summary.is_over(0)
    before = read_summary({key: value for key, value in VALID.items() if key != "share"})
    assert before is not None and before.is_over(0.7)


@pytest.mark.parametrize("maximize", [True, False])
def test_completed_trials_keep_their_predictions_where_there_are_too_many(maximize: bool) -> None:
    records = [
        TrialRecord(number, State.COMPLETE if number < 30 else State.PAUSED, {}, 0.1) for number in range(500)
    ]
    means = {number: Prediction(float(number), 0.1) for number in range(500)}
    kept = shortened(SearchSummary(means, 0, 0.1, 0.1, 0, 0.0), records, maximize)
    assert kept.completed == 30 and len(kept.predictions) == 100
    assert set(kept.predictions) >= set(range(30))
    assert (499 in kept.predictions) is maximize


def test_the_last_lines_say_why_the_search_ended_and_what_to_do(ended: Bench) -> None:
    text = last_lines(ended, Outcome("expected regret 0.1", 1, converged=True))
    lines = text.splitlines()
    summary = ended.study.summary
    assert summary is not None
    paused = sum(record.state == State.PAUSED for record in ended.study.records())
    place = next(index for index, line in enumerate(lines) if line.startswith("Expected regret"))
    complete = sum(record.state == State.COMPLETE for record in ended.study.records())
    assert summary.share < 1
    enough = f"below {summary.share:.2g}, which --until 1 comes to with {complete} complete trial"
    assert enough in lines[place]
    assert lines[place + 1].startswith(f"{summary.untried} configurations not tried; the best of them is ")
    assert lines[place + 2].startswith(f"{paused} paused trials. A smaller --until continues: ")
    smaller = lines[place + 2].rpartition(" --until ")[2]
    assert smaller == "never" if summary.regret < 0.1 else 0 < float(smaller) < summary.regret
    assert "sasrecf-tune confirm study" in lines[place + 3]
    assert "predicted" in lines[0]


def test_the_last_lines_of_an_interrupted_search_ask_for_no_smaller_regret(ended: Bench) -> None:
    text = last_lines(ended, Outcome("interrupted", 1, interrupted=True))
    assert "Interrupted; expected regret" in text and "A smaller --until" not in text
    assert "Recommended last step" not in text


def test_a_smaller_regret_continues_paused_trials(tmp_path: Path) -> None:
    with bench(tmp_path, GRID, PausableTraining(quality, 12), "auto", until=3.0) as run:
        run.search.run()
        paused = {record.number for record in run.records() if record.state == State.PAUSED}
        assert paused
    training = PausableTraining(quality, 12)
    with bench(tmp_path, GRID, training, "auto", until=0.05) as run:
        run.search.run()
    assert paused & {job.number for job in training.jobs}
    assert not any((number, 1) in training.trained for number in paused)  # they continue
