"""The default search through the coordinator, with made-up training."""

from __future__ import annotations

from pathlib import Path

import pytest

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
