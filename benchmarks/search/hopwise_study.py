"""Read the study of `hopwise tune --tool optuna`."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import datetime
from pathlib import Path

from benchmarks.search.search_result import SearchResult

# Not by Optuna: the environment of hopwise may have another version of it, with another schema.
_TRIALS = """
SELECT number, state, value, datetime_complete,
    (SELECT COUNT(*) FROM trial_intermediate_values AS reported WHERE reported.trial_id = trials.trial_id)
FROM trials LEFT JOIN trial_values USING (trial_id) ORDER BY datetime_complete IS NULL, datetime_complete
"""


def read_hopwise(database: Path, started: datetime) -> SearchResult:
    """Return the trials that have ended, by the time since `started`; none while there is no study.

    hopwise minimizes the negated score.
    """
    found = SearchResult()
    if not database.exists():
        return found
    rows: list[tuple[int, str, float | None, str | None, int]] = []
    with (
        contextlib.suppress(sqlite3.OperationalError),  # it is being made
        contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection,
    ):
        rows = connection.execute(_TRIALS).fetchall()
    for number, state, value, completed, epochs in rows:
        found.epochs += epochs
        if completed is not None:
            score = -value if state == "COMPLETE" and value is not None else None
            found.add_trial(number, score, (datetime.fromisoformat(completed) - started).total_seconds())
    return found
