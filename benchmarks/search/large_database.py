"""Writes a study database with any number of trials directly: a search would take days."""

from __future__ import annotations

import json
import math
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json

from benchmarks.search.instant_training import METRIC
from sasrecf_tune.search.trial_attributes import CURVE

EPOCHS = 5
# 160,000 cells: enough for 100,000 different trials, and a grid can still list them.
SPACE = """\
learning_rate choice [0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001]
hidden_dropout_prob choice [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5]
attn_dropout_prob choice [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5]
hidden_size choice [16, 32, 64, 128, 256]
inner_size choice [64, 128, 256, 512]
n_layers choice [1, 2, 3, 4]
n_heads choice [1, 2]
"""
_WHEN = "2026-01-01 00:00:00.000000"
_TABLES = {
    "trials": "trial_id, number, study_id, state, datetime_start, datetime_complete",
    "trial_params": "trial_id, param_name, param_value, distribution_json",
    "trial_values": "trial_id, objective, value, value_type",
    "trial_intermediate_values": "trial_id, step, intermediate_value, intermediate_value_type",
    "trial_user_attributes": "trial_id, key, value_json",
    "trial_system_attributes": "trial_id, key, value_json",
}


def score(labels: dict[str, Any], noise: random.Random) -> float:
    """Return a made-up score: one learning rate is best, and seeds differ."""
    miss = abs(math.log10(float(labels["learning_rate"])) + 3) / 20
    return round(0.15 - miss + int(labels["n_layers"]) / 500 + noise.gauss(0, 0.003), 4)


def learning_curve(end: float, epochs: int) -> list[float]:
    """Return the scores after each of `epochs` epochs."""
    return [round(end * (1 - 0.5 ** (epoch + 1)), 4) for epoch in range(1, epochs + 1)]


def add_trials(
    database: Path,
    cells: Iterator[dict[str, Any]],
    distributions: dict[str, BaseDistribution],
    until: int,
    running: int,
) -> None:
    """Add trials until there are `until`, half of them pruned; no other process has the database open.

    The last `running` trials are running and have reported 0 to 4 times. Running trials of an earlier call
    are set to failed first.
    """
    written = {name: distribution_to_json(one) for name, one in distributions.items()}
    rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in _TABLES}
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE trials SET state = 'FAIL' WHERE state = 'RUNNING'")
        (study,) = connection.execute("SELECT study_id FROM studies").fetchone()
        last, begin = connection.execute("SELECT max(trial_id), count(*) FROM trials").fetchone()
        for offset, number in enumerate(range(begin, until), 1):
            trial = (last or 0) + offset
            labels = next(cells)
            noise = random.Random(number)
            end = score(labels, noise)
            state = "RUNNING" if number >= until - running else ("PRUNED", "COMPLETE")[number % 2]
            epochs = {"RUNNING": number % EPOCHS, "PRUNED": 2, "COMPLETE": EPOCHS}[state]
            scores = learning_curve(end, epochs)
            rows["trials"].append((trial, number, study, state, _WHEN, None if state == "RUNNING" else _WHEN))
            for name, label in labels.items():
                value = distributions[name].to_internal_repr(label)
                rows["trial_params"].append((trial, name, value, written[name]))
            rows["trial_intermediate_values"] += [
                (trial, step, value, "FINITE") for step, value in enumerate(scores, 1)
            ]
            rows["trial_user_attributes"].append((trial, "seed", "2020"))
            if state == "RUNNING":
                continue
            attributes: dict[str, Any] = {"epochs": epochs, "best_epoch": epochs, "seconds": 60.0}
            attributes |= {"valid": {METRIC: scores[-1]}, "device": "cpu", "threads": 1, "parameters": 1}
            attributes["log"] = f"logs/trial-{number:04}.log"
            if state == "COMPLETE":
                attributes["test"] = {METRIC: scores[-1]}
                rows["trial_values"].append((trial, 0, scores[-1], "FINITE"))
            rows["trial_user_attributes"] += [(trial, k, json.dumps(v)) for k, v in attributes.items()]
            rows["trial_system_attributes"].append((trial, CURVE, json.dumps({METRIC: scores})))
        for table, columns in _TABLES.items():
            marks = ", ".join("?" * (columns.count(",") + 1))
            connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows[table])
