"""Read the study of `hopwise tune --tool optuna`."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from datetime import datetime
from pathlib import Path

from benchmarks.search.search_result import SearchResult

# Not by Optuna: the environment of hopwise may have another version of it, with another schema.
_TRIALS = """
SELECT trial_id, number, state, value, datetime_complete,
    (SELECT COUNT(*) FROM trial_intermediate_values AS reported WHERE reported.trial_id = trials.trial_id)
FROM trials LEFT JOIN trial_values USING (trial_id) ORDER BY datetime_complete IS NULL, datetime_complete
"""
_PARAMS = "SELECT trial_id, param_name, param_value, distribution_json FROM trial_params"


def read_hopwise(database: Path, started: datetime) -> SearchResult:
    """Return the trials that have ended, by the time since `started`; none while there is no study.

    hopwise minimizes the negated score. Its parameters must be choices.
    """
    found = SearchResult()
    if not database.exists():
        return found
    rows: list[tuple[int, int, str, float | None, str | None, int]] = []
    params: dict[int, dict[str, object]] = {}
    with (
        contextlib.suppress(sqlite3.OperationalError),  # it is being made
        contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection,
    ):
        rows = connection.execute(_TRIALS).fetchall()
        for trial, name, at, distribution in connection.execute(_PARAMS):
            params.setdefault(trial, {})[name] = json.loads(distribution)["attributes"]["choices"][int(at)]
    for trial, number, state, value, completed, epochs in rows:
        found.epochs += epochs
        if completed is not None:
            score = -value if state == "COMPLETE" and value is not None else None
            seconds = (datetime.fromisoformat(completed) - started).total_seconds()
            found.add_trial(number, params.get(trial, {}), score, seconds)
    return found
