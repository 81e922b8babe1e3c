"""Tables of recorded learning curves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from recbole.utils.utils import early_stopping

from benchmarks.search.curve_table import STOPPING_STEP, early_stop


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_early_stop_is_recboles(scores: list[int]) -> None:
    best, step, length, at = -1.0, 0, len(scores), 0
    for index, score in enumerate(scores):
        best, step, stopped, updated = early_stopping(score, best, step, max_step=STOPPING_STEP)
        at = index if updated else at
        if stopped:
            length = index + 1
            break
    assert early_stop(scores) == (length, at)  # type: ignore[arg-type]  # it only iterates
