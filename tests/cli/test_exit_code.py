"""The exit code of a search."""

from __future__ import annotations

import pytest

from sasrecf_tune.cli.run import _exit_code
from sasrecf_tune.search.limits import Outcome
from sasrecf_tune.trials import State, TrialRecord


@pytest.mark.parametrize(
    ("states", "last", "code"),
    [
        ([State.COMPLETE, State.FAILED], True, 0),
        ([State.FAILED, State.PRUNED], True, 1),
        ([State.FAILED, State.PRUNED], False, 1),
        ([State.PAUSED], True, 1),
        # Another run goes on, and may complete what is paused or queued when this one ends.
        ([State.PAUSED], False, 0),
        ([State.WAITING], False, 0),
        ([State.RUNNING], False, 0),
    ],
)
def test_a_search_without_a_completed_trial_has_failed(states: list[State], last: bool, code: int) -> None:
    records = [TrialRecord(number, state, {}) for number, state in enumerate(states)]
    assert _exit_code(Outcome("ended", len(states)), records, last) == code
