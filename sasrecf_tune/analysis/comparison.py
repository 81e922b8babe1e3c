"""Comparison of studies: the scores of each, their cost, and which differ.

The test is that of Games and Howell: Welch's t-test for each pair, with the studentised range of all K means
in place of Student's t, so that it holds for all pairs at once. For K = 2 it is Welch's t-test. Each study
may have its own spread and number of seeds; scores are assumed to be normal.

Tukey's HSD with the seeds as blocks, as within a study (confirmation.py), does not fit: another model has
other weights, for which the same seed draws other numbers. On 60 seeds of 100 users of ml-100k, validation
scores of two learning rates of a model correlate with 0.5 and 0.6, those of SASRecF and SASRec with -0.1 to
0.0. These are not pairs, and treating them as pairs would cost half of the degrees of freedom. Where runs are
pairs, such as two models of the same shape, this test is conservative.

This test asks what other seeds would give, for the same users. The one of users in pairs
(user_differences.py) asks what other users would give, for the same trained models.

Source:
    Games and Howell, Pairwise multiple comparison procedures with unequal n's and/or variances, 1976.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sasrecf_tune.analysis.confirmation import ALPHA, Estimate, critical, estimate, tail
from sasrecf_tune.analysis.user_differences import UserDifference, user_differences, user_groups
from sasrecf_tune.analysis.user_scores import UserScores
from sasrecf_tune.inputs.metrics import Metric

# Budgets are unequal if a study has more than this many times the trials or the epochs of another.
_UNEQUAL = 1.5


@dataclass(frozen=True)
class Effort:
    """What was trained: runs that ended or are paused, and their epochs and seconds of training."""

    runs: int
    epochs: int
    seconds: float


@dataclass(frozen=True)
class Entry:
    """A study: its best configuration, and what it took to find it.

    Args:
        trial: The number of the trial with the best configuration.
        search: The trials that were trained in the study.
        planned: How many trials the search may have.
        imported: How many finished trials it has from earlier searches.
        score: The best score of the search, None if the configuration is confirmed.
        seeds: On which it was confirmed; empty if it was not.
        rivals: How many configurations were confirmed.
        valid: Each validation metric, seed by seed.
        test: Each test metric, seed by seed.
        unconfirmed: Why it is not confirmed.
        users: The scores of each user; None if they were not written.
        over: Whether the search ended by itself, with fewer trials than planned.
        paused: How many trials of the search are paused.
    """

    name: str
    model: str
    features: tuple[str, ...]
    trial: int
    params: Mapping[str, Any]
    weights: int
    search: Effort
    pruned: int
    failed: int
    planned: int
    confirmation: Effort
    score: float | None
    seeds: tuple[int, ...] = ()
    rivals: int = 0
    valid: Mapping[str, Sequence[float]] = field(default_factory=dict)
    test: Mapping[str, Sequence[float]] = field(default_factory=dict)
    unconfirmed: str = ""
    users: UserScores | None = None
    imported: int = 0
    over: bool = False
    paused: int = 0

    @property
    def cut_off(self) -> bool:
        """Whether the search was stopped before its end."""
        return self.finished < self.planned and not self.over

    @property
    def finished(self) -> int:
        """All trials that have ended, here or in an earlier search."""
        return self.search.runs - self.paused + self.imported

    @property
    def confirmed(self) -> bool:
        """Whether its metrics are from fresh seeds."""
        return bool(self.seeds)

    def on(self, part: str, key: str) -> Estimate | None:
        """Estimate metric `key` on "valid" or "test"; None if it is missing."""
        values = self.values(part, key)
        return estimate(values) if values else None

    def values(self, part: str, key: str) -> Sequence[float]:
        """Return metric `key` on "valid" or "test", seed by seed."""
        return (self.valid if part == "valid" else self.test).get(key, ())


@dataclass(frozen=True)
class Difference:
    """How much better `first` is than `second`.

    Args:
        mean: Difference of their means.
        half_interval: Half of its 95% interval.
        p: Probability of a difference at least this large somewhere among equal studies.
    """

    first: Entry
    second: Entry
    mean: float
    half_interval: float
    p: float

    @property
    def tied(self) -> bool:
        """Whether the difference is not significant."""
        return self.p > ALPHA


@dataclass(frozen=True)
class Comparison:
    """Studies on the same data, best first, compared by `metric`.

    Args:
        keys: The metrics that all studies have.
        differences: Between all pairs, on "valid" and on "test".
        user_differences: The same, tested on users in pairs.
        user_groups: Between the first study and each other, in groups of users and items.
    """

    data: str
    metric: Metric
    keys: tuple[str, ...]
    entries: tuple[Entry, ...]
    differences: Mapping[str, tuple[Difference, ...]]
    user_differences: Mapping[str, tuple[UserDifference, ...]] = field(default_factory=dict)
    user_groups: tuple[UserDifference, ...] = ()


def compare(
    entries: Sequence[Entry], data: str, metric: Metric, keys: Sequence[str], unit: float
) -> Comparison:
    """Order the studies and test all pairs. `unit` is the last digit of a score."""
    placed = tuple(ordered(entries, metric))
    by_part = {part: differences(placed, part, metric, unit) for part in ("valid", "test")}
    users = {entry.name: entry.users for entry in placed if entry.users is not None}
    by_user = user_differences(users) if len(users) > 1 else {}
    groups = user_groups(users) if len(users) > 1 else ()
    return Comparison(data, metric, tuple(keys), placed, by_part, by_user, groups)


def ordered(entries: Sequence[Entry], metric: Metric) -> list[Entry]:
    """Order by mean on validation, best first; unconfirmed studies are last, by the score of their search."""
    sign = -1 if metric.maximize else 1

    def place(entry: Entry) -> tuple[bool, float]:
        valid = entry.on("valid", metric.key)
        score = valid.mean if valid else entry.score
        return not entry.confirmed, math.inf if score is None else sign * score

    return sorted(entries, key=place)


def differences(entries: Sequence[Entry], part: str, metric: Metric, unit: float) -> tuple[Difference, ...]:
    """Test each pair of confirmed studies with at least two seeds; the better of a pair is its first.

    `unit` is the last digit of a score: the spread is at least that of rounding.
    """
    tested = [entry for entry in entries if len(entry.values(part, metric.key)) > 1]
    results = []
    for pair in itertools.combinations(tested, 2):
        samples = [entry.values(part, metric.key) for entry in pair]
        means = [statistics.fmean(sample) for sample in samples]
        if means[0] != means[1] and (means[1] > means[0]) == metric.maximize:
            pair = pair[::-1]
        error, freedom = _welch(samples, unit)
        distance = abs(means[0] - means[1])
        results.append(
            Difference(
                *pair,
                mean=distance,
                half_interval=critical(len(tested), freedom) * error,
                p=tail(distance / error, len(tested), freedom),
            )
        )
    return tuple(results)


def unequal_budgets(entries: Sequence[Entry]) -> list[tuple[str, Entry, Entry]]:
    """Return ("trials" or "epochs", study with the least, study with the most) where budgets differ much."""
    unequal = []
    for what in ("trials", "epochs"):
        amounts = [entry.search.runs if what == "trials" else entry.search.epochs for entry in entries]
        least, most = min(amounts), max(amounts)
        if most > _UNEQUAL * least:
            unequal.append((what, entries[amounts.index(least)], entries[amounts.index(most)]))
    return unequal


def _welch(samples: Sequence[Sequence[float]], unit: float) -> tuple[float, float]:
    """Return the standard error of a difference of means, divided by sqrt(2), and its degrees of freedom."""
    # Rounding to `unit` adds a variance of unit**2 / 12.
    parts = [max(statistics.variance(sample), unit**2 / 12) / len(sample) for sample in samples]
    rest = sum(part**2 / (len(sample) - 1) for part, sample in zip(parts, samples, strict=True))
    return math.sqrt(sum(parts) / 2), sum(parts) ** 2 / rest
