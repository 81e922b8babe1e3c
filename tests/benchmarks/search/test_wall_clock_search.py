"""What the comparison in wall-clock time reads of each search, and where it stops one."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

from benchmarks.search.hopwise_study import read_hopwise
from benchmarks.search.search import markdown_table
from benchmarks.search.search_result import Params, SearchResult, Stop, cell_key, score_on
from benchmarks.search.search_runs import add_event

STARTED = datetime(2026, 1, 1, 12)


def test_a_study_of_hopwise_is_read_with_its_times_and_signs(tmp_path: Path) -> None:
    database = tmp_path / "study.db"
    assert read_hopwise(database, STARTED).trials == 0
    study = optuna.create_study(storage=f"sqlite:///{database}", direction="minimize")
    # hopwise negates the value of a complete trial, but not what it reports to the pruner.
    for seconds, state, value, reported in (
        (30, TrialState.COMPLETE, -0.04, [0.03, 0.04]),
        (40, TrialState.PRUNED, 0.05, [0.05]),
        (70, TrialState.COMPLETE, -0.06, [0.06, 0.05]),
        (0, TrialState.RUNNING, None, [0.01]),
    ):
        trial = create_trial(
            state=state,
            value=value,
            params={"n_layers": 2},
            distributions={"n_layers": CategoricalDistribution([1, 2])},
            intermediate_values=dict(enumerate(reported)),
        )
        trial.datetime_start = STARTED
        trial.datetime_complete = STARTED + timedelta(seconds=seconds) if seconds else None
        study.add_trial(trial)
    found = read_hopwise(database, STARTED)
    assert found.best == [(30, 0, 0.04), (70, 2, 0.06)]
    assert (found.trials, found.epochs) == (3, 6)
    assert found.choice == {"n_layers": 2}
    assert [found.time_to(score) for score in (0.03, 0.05, 0.07)] == [30, 70, None]


def test_epochs_of_paused_trials_count_and_only_complete_trials_have_a_score() -> None:
    found = SearchResult()
    params: dict[int, Params] = {}
    events: list[dict[str, Any]] = [
        *({"event": "started", "trial": number, "params": {"n_layers": number}} for number in range(3)),
        {"event": "reported", "trial": 0, "score": 0.9},
        {"event": "paused", "trial": 0, "score": 0.9, "epochs": 1},
        {"event": "reported", "trial": 1, "score": 0.2},
        {"event": "ended", "trial": 1, "state": "complete", "score": 0.2, "epochs": 1},
        {"event": "ended", "trial": 2, "state": "failed", "score": None, "epochs": 0},
        {"event": "end", "best": {"params": {"n_layers": 1}}},
    ]
    for second, event in enumerate(events):
        found.seconds = second
        add_event(found, event, params)
    assert (found.epochs, found.trials, found.best) == (2, 2, [(6, 1, 0.2)])
    assert score_on(
        found.choice, [found, SearchResult(scores={cell_key(found.choice): 0.4})]
    ) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("stop", "stopped"),
    [
        (Stop(), None),
        (Stop(score=0.5, patience=3, seconds=100), None),
        (Stop(score=0.3), "score"),
        (Stop(patience=2), "patience"),
        (Stop(seconds=20), "time"),
    ],
)
def test_a_search_is_stopped_by_the_first_of_its_limits(stop: Stop, stopped: str | None) -> None:
    found = SearchResult(seconds=20)
    for number, score in enumerate([0.3, None, 0.2]):
        found.add_trial(number, {}, score, number)
    assert found.should_stop(stop) is (stopped is not None)
    assert found.stopped == stopped


def test_the_table_says_which_search_had_no_such_trial() -> None:
    reached = SearchResult(best=[(12.3, 0, 0.5)], trials=3, epochs=9, seconds=40)
    stopped = SearchResult(best=[(5, 0, 0.1)], trials=8, epochs=70, seconds=120, stopped="time")
    found = {
        "grid": reached.to_json(0.5) | {"choice_on_other_seeds": 0.4},
        "hopwise": stopped.to_json(0.5) | {"choice_on_other_seeds": None},
    }
    _, _, grid, hopwise = markdown_table([{"data": "ml-100k", "seed": 1, **found}]).splitlines()
    assert grid == "| ml-100k | whole grid | 12 s | 40 s | 3 | 9 | 0.4000 |"
    assert hopwise == "| ml-100k | `hopwise tune` | not, 120 s |  | 8 | 70 |  |"
