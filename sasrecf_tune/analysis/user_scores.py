"""The scores of each user with the best configuration of a study, and of groups of users and items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sasrecf_tune.analysis.binning import quantile_ranges
from sasrecf_tune.analysis.confirmation import Confirmation, rank_confirmed
from sasrecf_tune.analysis.winner import Winner
from sasrecf_tune.errors import StorageError
from sasrecf_tune.inputs.metrics import per_user_keys
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.storage.directory import StudyDirectory, relative
from sasrecf_tune.storage.per_user_files import (
    HISTORY,
    PARTS,
    POPULARITY,
    RANK,
    USER,
    Part,
    per_user_file,
    read_per_user,
)
from sasrecf_tune.trials import State, TrialRecord

if TYPE_CHECKING:
    import pandas as pd

# The groups of users and items, and how they are named.
GROUPED = {HISTORY: "history", POPULARITY: "popularity"}
_GROUPS = 4
# Units by which the mean of a file may differ from the recorded metric: trials that train as one model are
# validated together, which can round a score otherwise.
_TOLERANCE = 2


@dataclass(frozen=True)
class UserScores:
    """The scores of users with one configuration, by part of the data.

    Args:
        key: The metric.
        tables: The columns of `per_user_files`. A row is the mean of all runs if they have the same rows.
        runs: How many runs they are of.
        ignored: What could not be used, in sentences.
    """

    key: str
    tables: Mapping[Part, pd.DataFrame] = field(default_factory=dict)
    runs: Mapping[Part, int] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Held-out items in a range of history lengths or popularity.

    Args:
        by: `HISTORY` or `POPULARITY`.
        label: The range, such as "20 to 49".
        count: Number of held-out items.
        score: Their mean score.
        rank: Their median rank.
    """

    by: str
    label: str
    count: int
    score: float
    rank: float


def read_user_scores(
    study_dir: StudyDirectory,
    settings: RunSettings,
    winner: Winner | None,
    tests: Mapping[int, Mapping[str, float]],
) -> UserScores | None:
    """Read the scores of users with the winner of a study, None where there are none.

    A file whose mean is not the metric in the database is of another run, and is not used.

    Args:
        tests: The test metrics of the search, by trial number.
    """
    metric = settings.metric
    if winner is None or not per_user_keys([metric.key]) or not study_dir.per_user_directory.is_dir():
        return None
    tables: dict[Part, list[pd.DataFrame]] = {part: [] for part in PARTS}
    ignored = []
    for base, metrics in _recorded_metrics(study_dir, settings, winner, tests).items():
        for part in PARTS:
            path = per_user_file(base, part)
            try:
                table = read_per_user(path, [metric.key])
            except FileNotFoundError:
                continue
            except StorageError as error:
                ignored.append(f"{relative(path)} is not used: {error.what}")
                continue
            distance = abs(float(table[metric.key].mean()) - metrics[part].get(metric.key, -1.0))
            if distance <= _TOLERANCE * metric.unit:
                tables[part].append(table)
            else:
                ignored.append(f"{relative(path)} is not used: it does not have the mean of its run")
    found = {part: _joined(each, metric.key) for part, each in tables.items() if each}
    if not found and not ignored:
        return None
    return UserScores(metric.key, found, {part: len(tables[part]) for part in found}, tuple(ignored))


def _recorded_metrics(
    study_dir: StudyDirectory,
    settings: RunSettings,
    winner: Winner,
    tests: Mapping[int, Mapping[str, float]],
) -> dict[Path, Mapping[Part, Mapping[str, float]]]:
    """The metrics of the runs of a winner's configuration in the database, by the base of their files."""
    if winner.confirmation is None:
        number = winner.record.number
        return {study_dir.per_user(number): {"valid": winner.record.valid, "test": tests.get(number, {})}}
    confirmation = winner.confirmation
    seeds = rank_confirmed(confirmation, settings.metric.maximize, settings.unit).seeds
    return {
        study_dir.confirmation.per_user(record.number): {
            "valid": record.valid,
            "test": confirmation.tests.get((trial, seed), {}),
        }
        for (trial, seed), record in confirmation.runs.items()
        if trial == winner.trial and seed in seeds and record.state == State.COMPLETE
    }


def _joined(tables: Sequence[pd.DataFrame], key: str) -> pd.DataFrame:
    import pandas as pd

    first = tables[0]
    same = [column for column in first.columns if column not in (key, RANK)]
    if not all(first[same].equals(table[same]) for table in tables[1:]):
        return pd.concat(tables, ignore_index=True)  # each seed has held out other items
    means = {name: sum(table[name] for table in tables) / len(tables) for name in (key, RANK)}
    return first.assign(**means)


def user_tables(
    study_dir: StudyDirectory, records: Sequence[TrialRecord], confirmation: Confirmation | None
) -> Iterator[pd.DataFrame]:
    """Read the scores of users of all runs that have them: of the confirmation, then of the search.

    Yields:
        A table for each run and part of the data, with the columns `trial`, `seed` and `part` first.

    Raises:
        StorageError: A file cannot be read.
    """
    runs = sorted(confirmation.runs.items()) if confirmation is not None else []
    found: list[tuple[Path, int, int | None]] = [
        (study_dir.confirmation.per_user(run.number), *place) for place, run in runs
    ]
    found += [(study_dir.per_user(record.number), record.number, record.seed) for record in records]
    for base, trial, seed in found:
        for part in PARTS:
            try:
                table = read_per_user(per_user_file(base, part))
            except FileNotFoundError:
                continue
            for place, (name, value) in enumerate((("trial", trial), ("seed", seed), ("part", part))):
                table.insert(place, name, value)
            yield table


def levels_of(values: NDArray[Any]) -> tuple[list[str], NDArray[Any]]:
    """Cut history lengths or popularities into ranges of about equally many; return labels and levels."""
    return quantile_ranges(values, _GROUPS, "{:,}")


def groups_of(scores: UserScores) -> dict[Part, list[Group]]:
    """The scores of groups of users by history length, and of items by popularity; the same on all parts."""
    found: dict[Part, list[Group]] = {part: [] for part in scores.tables}
    ends = np.cumsum([len(table) for table in scores.tables.values()])
    for by in GROUPED if scores.tables else ():
        labels, pooled = levels_of(np.concatenate([table[by] for table in scores.tables.values()]))
        for (part, table), levels in zip(scores.tables.items(), np.split(pooled, ends[:-1]), strict=True):
            for level, label in enumerate(labels):
                rows = table[levels == level]
                if len(rows):
                    score, rank = float(rows[scores.key].mean()), float(rows[RANK].median())
                    found[part].append(Group(by, label, len(rows), score, rank))
    return found


def users_of(scores: UserScores, part: Part) -> int:
    """How many users a part has, 0 without it."""
    return int(scores.tables[part][USER].nunique()) if part in scores.tables else 0
