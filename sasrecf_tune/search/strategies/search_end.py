"""What a search has found when it ends: which trial it chooses, and what was left untried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sasrecf_tune.search.policy import Labels
from sasrecf_tune.search.strategies.beliefs import Observed
from sasrecf_tune.search.strategies.survey import Survey

_MAX_UNTRIED = 10


@dataclass(frozen=True)
class Choice:
    """A trial with its predicted final score, of any seed.

    Args:
        seen: Its best score.
        deviation: The standard deviation of `predicted`.
        complete: Whether it was trained to its end.
    """

    number: int
    seen: float
    predicted: float
    deviation: float
    complete: bool


@dataclass(frozen=True)
class Untried:
    """A configuration without a trial, with its predicted final score."""

    labels: Labels
    predicted: float
    deviation: float


@dataclass(frozen=True)
class Predictions:
    """Predicted final scores of trials with a score, by number, and of configurations without a trial."""

    trials: dict[int, Choice]
    untried: tuple[Untried, ...]


@dataclass(frozen=True)
class SearchEnd:
    """A summary of a search.

    Args:
        trials: All trials with a score, by number.
        choice: The trial with the highest predicted final score of those that were trained to their end; of
            all, if none was.
        regret: By how much the best prediction is expected to exceed that of the choice once all
            configurations were trained to their end, in standard deviations between seeds.
        seed_deviation: One of these, in the metric.
        untried: How many configurations have no trial; None for infinitely many.
        untried_gain: By how much the best of them is expected to be better than the choice, in standard
            deviations between seeds.
    """

    trials: Mapping[int, Choice]
    choice: Choice
    regret: float
    seed_deviation: float
    untried: int | None
    untried_gain: float


def predictions(survey: Survey, sign: int) -> Predictions:
    """Predict all trials with a score, and the best configurations without a trial.

    Args:
        survey: The study.
        sign: 1 if larger scores are better, else -1.
    """
    beliefs = survey.beliefs
    process = beliefs.process
    scored = [one for one in survey.trials if one.scores]
    spots = beliefs.all_finals[np.array([one.cell for one in scored], dtype=int)]
    predicted = process.predict(spots)
    means = sign * process.to_scores(predicted.mean)
    deviations = process.scale * process.deviation(spots, predicted)
    trials = {
        one.curve.number: Choice(one.curve.number, sign * one.scores[-1][1], mean, deviation, one.complete)
        for one, mean, deviation in zip(scored, means.tolist(), deviations.tolist(), strict=True)
    }
    order = np.argsort(-beliefs.prediction.mean, kind="stable")
    rows = [row for row in order if survey.untried()[row]][:_MAX_UNTRIED]
    untried = tuple(
        Untried(
            dict(survey.labels[beliefs.cells[row]]),
            float(sign * process.to_scores(beliefs.prediction.mean[row])),
            float(process.scale * beliefs.deviation[row]),
        )
        for row in rows
    )
    return Predictions(trials, untried)


def search_end(survey: Survey, sign: int) -> SearchEnd | None:
    """Summarize a search; None if no trial that could be chosen has a score.

    Args:
        survey: The study.
        sign: 1 if larger scores are better, else -1.
    """
    found = predictions(survey, sign).trials
    beliefs = survey.beliefs
    row_of = {int(cell): row for row, cell in enumerate(beliefs.cells)}
    known = [one for one in survey.trials if one.curve.number in found and one.cell in row_of]
    if not known:
        return None

    def rank(one: Observed) -> tuple[bool, float, float]:
        return one.complete, sign * found[one.curve.number].predicted, one.scores[-1][1]

    chosen = max(known, key=rank)
    choice = found[chosen.curve.number]
    row = row_of[chosen.cell]
    own, unit = float(beliefs.prediction.mean[row]), beliefs.seed_deviation
    others = survey.untried()
    others[row] = True
    return SearchEnd(
        found,
        choice,
        max(beliefs.best_expected() - own, 0.0) / unit,
        beliefs.process.scale * unit,
        survey.count_untried(),
        max(beliefs.best_expected(others) - own, 0.0) / unit,
    )
