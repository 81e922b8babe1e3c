"""Studies side by side: what each has come to, at what cost, and which can be told apart.

The test is Games and Howell's: Welch's t-test for each pair, with the studentised range of all K means in
place of Student's t, so that it holds for all pairs at once. For K = 2 it is Welch's t-test. It lets each
study have a spread and a number of seeds of its own; it assumes that scores are normal.

Not Tukey's with the seeds as blocks, as within a study (confirmation.py): another model has other weights,
for which the same seed draws other numbers. On 60 seeds of 100 users of ml-100k, validation scores of two
learning rates of a model correlate with 0.5 and 0.6, those of SASRecF and SASRec with -0.1 to 0.0: they are
no pairs, and to take them for pairs would cost half of the degrees of freedom. Where runs are pairs, as where
both studies have chosen models of the same shape, this test is the more careful one.
Source: Games and Howell, Pairwise multiple comparison procedures with unequal n's and/or variances, 1976.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sasrecf_tune.analysis.confirmation import ALPHA, Estimate, estimate
from sasrecf_tune.inputs.metrics import Metric

# So many times the trials, or the epochs, of another study are another budget.
UNEQUAL = 1.5


@dataclass(frozen=True)
class Effort:
    """What was trained: runs that have ended, epochs and seconds of training."""

    runs: int
    epochs: int
    seconds: float


@dataclass(frozen=True)
class Entry:
    """A study: its best configuration, that of trial `trial`, and what it took to find it.

    Where that was confirmed, `valid` and `test` have its metrics on each of `seeds`, and it is the first of
    `rivals` configurations. Where not, `seeds` is empty, `score` the best of the search, and `unconfirmed`
    says why. `planned` is how many trials the search is to have.
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

    @property
    def confirmed(self) -> bool:
        """Whether its metrics are of fresh seeds."""
        return bool(self.seeds)

    def on(self, part: str, key: str) -> Estimate | None:
        """Metric `key` on "valid" or "test", None where there is none."""
        values = self.values(part, key)
        return estimate(values) if values else None

    def values(self, part: str, key: str) -> Sequence[float]:
        """As `on`, seed by seed."""
        return (self.valid if part == "valid" else self.test).get(key, ())


@dataclass(frozen=True)
class Difference:
    """How much better `first` is than `second`, half of the 95% interval of that, and how probable it is.

    `p` is the probability of such a distance, or a larger one, somewhere among equal studies.
    """

    first: Entry
    second: Entry
    mean: float
    half: float
    p: float

    @property
    def tied(self) -> bool:
        """Whether they cannot be told apart."""
        return self.p > ALPHA


@dataclass(frozen=True)
class Comparison:
    """Studies on the same `data`, in their order, compared by `metric`; `keys` are the metrics that all have.

    `differences` are those on "valid" and on "test".
    """

    data: str
    metric: Metric
    keys: tuple[str, ...]
    entries: tuple[Entry, ...]
    differences: Mapping[str, tuple[Difference, ...]]


def compare(
    entries: Sequence[Entry], data: str, metric: Metric, keys: Sequence[str], unit: float
) -> Comparison:
    """Put the studies in order, and test all pairs. `unit` is what scores are rounded to."""
    placed = tuple(ordered(entries, metric))
    found = {part: differences(placed, part, metric, unit) for part in ("valid", "test")}
    return Comparison(data, metric, tuple(keys), placed, found)


def ordered(entries: Sequence[Entry], metric: Metric) -> list[Entry]:
    """The confirmed ones, best mean on validation first; below them the others by their search's score."""
    sign = -1 if metric.maximize else 1

    def place(entry: Entry) -> tuple[bool, float]:
        found = entry.on("valid", metric.key)
        score = found.mean if found else entry.score
        return not entry.confirmed, math.inf if score is None else sign * score

    return sorted(entries, key=place)


def differences(entries: Sequence[Entry], part: str, metric: Metric, unit: float) -> tuple[Difference, ...]:
    """Of each pair of confirmed studies with two seeds at least; the better one of a pair is its first.

    `unit` is what scores are rounded to: no spread is taken for less than rounding makes it.
    """
    tested = [entry for entry in entries if len(entry.values(part, metric.key)) > 1]
    found = []
    for pair in itertools.combinations(tested, 2):
        samples = [entry.values(part, metric.key) for entry in pair]
        means = [statistics.fmean(sample) for sample in samples]
        if means[0] != means[1] and (means[1] > means[0]) == metric.maximize:
            pair = pair[::-1]
        error, freedom = _welch(samples, unit)
        apart = abs(means[0] - means[1])
        found.append(
            Difference(
                *pair,
                mean=apart,
                half=_critical(len(tested), freedom) * error,
                p=_tail(apart / error, len(tested), freedom),
            )
        )
    return tuple(found)


def unequal(entries: Sequence[Entry]) -> list[tuple[str, Entry, Entry]]:
    """What the studies had very different amounts of, "trials" or "epochs": who least, and who most."""
    found = []
    for what in ("trials", "epochs"):
        amounts = [entry.search.runs if what == "trials" else entry.search.epochs for entry in entries]
        least, most = min(amounts), max(amounts)
        if most > UNEQUAL * least:
            found.append((what, entries[amounts.index(least)], entries[amounts.index(most)]))
    return found


def _welch(samples: Sequence[Sequence[float]], unit: float) -> tuple[float, float]:
    """The standard error of a difference of means, over the root of 2, and its degrees of freedom."""
    # A number that was rounded is off by a twelfth of a unit squared, in the mean.
    parts = [max(statistics.variance(sample), unit**2 / 12) / len(sample) for sample in samples]
    rest = sum(part**2 / (len(sample) - 1) for part, sample in zip(parts, samples, strict=True))
    return math.sqrt(sum(parts) / 2), sum(parts) ** 2 / rest


@lru_cache
def _critical(count: int, freedom: float) -> float:
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(1 - ALPHA, count, freedom))


@lru_cache
def _tail(q: float, count: int, freedom: float) -> float:
    from scipy.stats import studentized_range

    return float(studentized_range.sf(q, count, freedom))
