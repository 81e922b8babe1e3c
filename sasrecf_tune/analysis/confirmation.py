"""Confirmation of the best configurations on fresh seeds: their scores, and which of them differ.

The scores of a search come from one seed and were used to choose the best, so the best one is partly lucky.
Here each configuration has a score on each of several seeds that were not used for selection.

The test is Tukey's HSD in a randomised block design with the seeds as blocks. With K configurations on S
seeds, the residual mean square MSE of the two-way layout configuration + seed has (K-1)(S-1) degrees of
freedom, and |mean_i - mean_j| / sqrt(MSE / S) is compared with the studentised range of K means. It holds for
all pairs at once, so it also holds for the first against the rest. For K = 2 it is the paired t-test. It
assumes that a seed shifts the scores of all configurations alike, and that the residuals are normal with
equal variance.

Source:
    Montgomery, Design and Analysis of Experiments, chapters 3 and 4.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from sasrecf_tune.trials import ENDED, State, TrialRecord, most_promising, rank

# Significance level: the share of confirmations of equal configurations in which any is called worse.
ALPHA = 0.05
_SEEDS = 2**32  # numpy's seeds are below this

Run = tuple[int, int]  # trial of the search that has the configuration, seed


@dataclass(frozen=True)
class Confirmation:
    """Configurations that are trained on several seeds.

    Args:
        configurations: RecBole values without the seed, by trial number, best of the search first.
        top: How many configurations were requested; the others have all runs from an earlier confirmation.
        runs: Runs that have ended.
        tests: Test metrics, kept apart so that nothing can select on them by mistake.
    """

    configurations: Mapping[int, Mapping[str, Any]]
    seeds: tuple[int, ...]
    top: int
    runs: Mapping[Run, TrialRecord] = field(default_factory=dict)
    tests: Mapping[Run, Mapping[str, float]] = field(default_factory=dict)

    @property
    def wanted(self) -> list[Run]:
        """All runs, seed by seed: an interrupted confirmation has all configurations on some seeds."""
        return [(trial, seed) for seed in self.seeds for trial in self.configurations]

    @property
    def complete(self) -> bool:
        """Whether all runs have ended."""
        return all(run in self.runs for run in self.wanted)

    def run_of(self, params: Mapping[str, Any]) -> Run | None:
        """Return the run that has these parameters, None if it is not part of this confirmation."""
        own, seed = without_seed(params), int(params["seed"])
        if seed not in self.seeds:
            return None
        trials = (trial for trial, configuration in self.configurations.items() if configuration == own)
        return next(((trial, seed) for trial in trials), None)

    def filled(
        self, records: Iterable[TrialRecord], tests: Mapping[int, Mapping[str, float]] | None = None
    ) -> Confirmation:
        """Return a copy with the ended runs among `records`; `tests` are by record number."""
        runs = {
            run: record
            for record in records
            if record.state in ENDED and record.params and (run := self.run_of(record.params)) is not None
        }
        numbers = {run: record.number for run, record in runs.items()}
        tests = tests or {}
        return replace(self, runs=runs, tests={run: tests[n] for run, n in numbers.items() if tests.get(n)})


@dataclass(frozen=True)
class Estimate:
    """A mean, the standard deviation of the values, and half of the 95% interval of the mean (Student's t).

    The last two are None for a single value.
    """

    mean: float
    sd: float | None
    half_interval: float | None


@dataclass(frozen=True)
class Place:
    """A configuration in the ranking by mean score.

    Args:
        seconds: Mean training time of its runs.
        q: Studentised distance from the first, None if it is not tested.
        tied: Whether it does not differ significantly from the first.
    """

    trial: int
    score: Estimate
    seconds: float
    q: float | None
    tied: bool


@dataclass(frozen=True)
class Verdict:
    """The ranking of a confirmation.

    Args:
        places: Best first.
        seeds: Seeds that all places have completed, on which they are compared.
        failed_on: Other seeds, with the trials that failed on them.
        unreliable: Trials of configurations that failed on at least half of the seeds; they are not compared.
    """

    places: tuple[Place, ...]
    seeds: tuple[int, ...]
    failed_on: Mapping[int, tuple[int, ...]]
    unreliable: tuple[int, ...]

    @property
    def tied(self) -> int:
        """How many places, including the first, are tied with the first."""
        return sum(place.tied for place in self.places)

    @property
    def tested(self) -> bool:
        """Whether there are several places and several seeds, as the test needs."""
        return len(self.places) > 1 and len(self.seeds) > 1

    def p(self, place: Place) -> float | None:
        """Return the probability of at least this distance from the first among equal configurations."""
        if place.q is None:
            return None
        return tail(place.q, len(self.places), _freedom(len(self.places), len(self.seeds)))


def without_seed(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters without the seed, which a search space may contain."""
    return {name: value for name, value in params.items() if name != "seed"}


def best_configurations(
    records: Iterable[TrialRecord], maximize: bool, count: int
) -> dict[int, dict[str, Any]]:
    """Return the `count` best different configurations, by the number of the best trial of each.

    The first is that of the best completed trial. The others are those of completed and paused trials with
    the highest predicted final scores: a confirmation trains them from the beginning anyway.
    """
    configurations: dict[int, dict[str, Any]] = {}
    for record in most_promising(records, maximize):
        params = without_seed(record.params)
        if len(configurations) < count and params not in configurations.values():
            configurations[record.number] = params
    return configurations


def fresh_seeds(first: int, count: int) -> tuple[int, ...]:
    """Return `count` seeds after `first`, the greatest that the search may have used."""
    return tuple((first + offset) % _SEEDS for offset in range(1, count + 1))


def estimate(values: Sequence[float]) -> Estimate:
    """Estimate the mean of at least one value."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Estimate(mean, None, None)
    sd = statistics.stdev(values)
    return Estimate(mean, sd, _t_quantile(len(values) - 1) * sd / math.sqrt(len(values)))


def rank_confirmed(confirmation: Confirmation, maximize: bool, unit: float = 1e-4) -> Verdict:
    """Order the configurations and test each against the first.

    They are compared on the seeds that all of them have completed. If there is none, as at the beginning,
    each is ranked by the runs it has, and nothing is tested. `unit` is the last digit of a score: the spread
    is at least that of rounding.
    """
    scores: dict[int, dict[int, float]] = {trial: {} for trial in confirmation.configurations}
    failed: dict[int, list[int]] = {trial: [] for trial in confirmation.configurations}
    for (trial, seed), record in confirmation.runs.items():
        if record.state == State.COMPLETE and record.score is not None and math.isfinite(record.score):
            scores[trial][seed] = record.score
        elif record.state in (State.COMPLETE, State.FAILED):
            failed[trial].append(seed)
    unreliable = tuple(trial for trial in scores if 2 * len(failed[trial]) >= len(confirmation.seeds))
    compared = [trial for trial in scores if trial not in unreliable]
    seeds = tuple(
        seed for seed in confirmation.seeds if compared and all(seed in scores[trial] for trial in compared)
    )
    shown = {
        trial: [score for seed, score in sorted(scores[trial].items()) if seed in seeds or not seeds]
        for trial in compared
    }
    shown = {trial: values for trial, values in shown.items() if values}
    means = {trial: statistics.fmean(values) for trial, values in shown.items()}
    order = sorted(shown, key=lambda trial: -means[trial] if maximize else means[trial])
    distances = _distances([shown[trial] for trial in order], unit) if seeds else [None] * len(order)
    limit = critical(len(order), _freedom(len(order), len(seeds))) if any(distances) else math.inf
    places = tuple(
        Place(
            trial=trial,
            score=estimate(shown[trial]),
            seconds=statistics.fmean(
                confirmation.runs[trial, seed].seconds for seed in scores[trial] if seed in seeds or not seeds
            ),
            q=distance,
            tied=distance is None or distance < limit,
        )
        for trial, distance in zip(order, distances, strict=True)
    )
    failed_on = {
        seed: tuple(trial for trial in compared if seed in failed[trial])
        for seed in confirmation.seeds
        if any(seed in failed[trial] for trial in compared)
    }
    return Verdict(places, seeds, failed_on, unreliable)


def on_test(confirmation: Confirmation, verdict: Verdict, trial: int) -> dict[str, Estimate]:
    """Estimate each test metric of a place on the seeds of the verdict."""
    return _estimates(test_scores(confirmation, verdict, trial))


def on_validation(confirmation: Confirmation, verdict: Verdict, trial: int) -> dict[str, Estimate]:
    """Estimate each validation metric of a place on the seeds of the verdict."""
    return _estimates(validation_scores(confirmation, verdict, trial))


def test_scores(confirmation: Confirmation, verdict: Verdict, trial: int) -> dict[str, list[float]]:
    """Return each test metric of a place, seed by seed."""
    return _by_metric(
        [
            tests
            for (other, seed), tests in sorted(confirmation.tests.items())
            if other == trial and (seed in verdict.seeds or not verdict.seeds)
        ]
    )


def validation_scores(confirmation: Confirmation, verdict: Verdict, trial: int) -> dict[str, list[float]]:
    """Return each validation metric of a place, seed by seed."""
    return _by_metric(
        [
            record.valid
            for (other, seed), record in sorted(confirmation.runs.items())
            if other == trial
            and record.state == State.COMPLETE
            and (seed in verdict.seeds or not verdict.seeds)
        ]
    )


def best_run(confirmation: Confirmation, trial: int, maximize: bool) -> TrialRecord | None:
    """Return the run of a configuration that is best on validation, None if none has completed."""
    runs = [record for (other, _), record in confirmation.runs.items() if other == trial]
    return next((row.record for row in rank(runs, maximize) if row.rank is not None), None)


@lru_cache
def critical(means: int, freedom: float) -> float:
    """Return the critical value of the studentised range at `ALPHA`."""
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(1 - ALPHA, means, freedom))


@lru_cache
def tail(q: float, means: int, freedom: float) -> float:
    """Return the p value of a studentised range `q`."""
    from scipy.stats import studentized_range

    return float(studentized_range.sf(q, means, freedom))


@lru_cache
def _t_quantile(freedom: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.975, freedom))


def _freedom(configurations: int, seeds: int) -> int:
    return (configurations - 1) * (seeds - 1)


def _distances(scores: Sequence[Sequence[float]], unit: float) -> list[float | None]:
    """Return the studentised distance of each row of scores [configuration, seed] from the first."""
    count, seeds = len(scores), len(scores[0])
    freedom = _freedom(count, seeds)
    if freedom == 0:
        return [None] * count
    means = [statistics.fmean(row) for row in scores]
    columns = [statistics.fmean(column) for column in zip(*scores, strict=True)]
    grand = statistics.fmean(means)
    residual = math.fsum(
        (score - mean - column + grand) ** 2
        for row, mean in zip(scores, means, strict=True)
        for score, column in zip(row, columns, strict=True)
    )
    # Rounding to `unit` adds a variance of unit**2 / 12.
    spread = math.sqrt(max(residual / freedom, unit**2 / 12) / seeds)
    return [None, *(abs(mean - means[0]) / spread for mean in means[1:])]


def _by_metric(results: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Return the finite values of each metric."""
    keys = dict.fromkeys(key for result in results for key in result)
    values_of = {key: [r[key] for r in results if key in r and math.isfinite(r[key])] for key in keys}
    return {key: values for key, values in values_of.items() if values}


def _estimates(scores: Mapping[str, Sequence[float]]) -> dict[str, Estimate]:
    return {key: estimate(values) for key, values in scores.items()}
