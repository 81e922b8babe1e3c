"""Adds trials of earlier searches to a study, as finished ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from sasrecf_tune.inputs.literals import Scalar
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.search.earlier.matching import Counted
from sasrecf_tune.search.imported_trials import imported_attributes, is_provisional
from sasrecf_tune.search.strategies.distributions import distributions
from sasrecf_tune.search.study import TuneStudy

_Key = tuple[tuple[Scalar, ...], float]


@dataclass(frozen=True)
class Added:
    """What became of trials that count.

    Args:
        count: How many were added.
        had: How many the study has had before, or from another source.
        doubted: How many of these were imported without trust, although it is given now.
    """

    count: int
    had: int
    doubted: int

    @property
    def text(self) -> str:
        """What to tell the user."""
        trials = "trial" if self.count == 1 else "trials"
        had = f"; the study has {self.had:,} already" if self.had else ""
        if self.doubted:
            had += f", {self.doubted:,} of them imported without --trust, and these stay so"
        return f"imported {self.count:,} {trials}{had}"


def add_trials(study: TuneStudy, space: SearchSpace, counted: Sequence[Counted], trusted: bool) -> Added:
    """Add the trials that the study does not have yet, in one transaction.

    A trial with the same configuration and the same score is taken to be the same one.

    Args:
        trusted: Whether they rank like trials that are trained in the study.
    """
    known_distributions = distributions(space)

    def change() -> Added:
        had: list[bool] = []
        for _, of_source in groupby(counted, key=lambda one: one.source):
            # Two trials of one source differ, such as in their seeds, even if their scores are the same.
            known: dict[_Key, list[bool]] = {}
            for trial in study.trials():
                if trial.state == TrialState.COMPLETE:
                    key = _key(trial.params, float(trial.value or 0.0), space)
                    known.setdefault(key, []).append(is_provisional(trial))
            for one in of_source:
                if same := known.get(_key(one.labels, one.score, space)):
                    had.append(same.pop())
                else:
                    study.add_finished(_frozen(one, known_distributions, trusted))
        return Added(len(counted) - len(had), len(had), sum(had) if trusted else 0)

    return study.transact(change)


def _key(labels: Mapping[str, Scalar], score: float, space: SearchSpace) -> _Key:
    # Multiples that Optuna calculates may differ in their last digit.
    return tuple(space.encode(space.decode(labels)).values()), score


def _frozen(one: Counted, known: Any, trusted: bool) -> FrozenTrial:
    trial = one.trial
    # Without a curve it is a point at the last epoch that was trained.
    curve = {epoch: score for epoch, score in trial.curve.items() if epoch > 0}
    return create_trial(
        state=TrialState.COMPLETE,
        value=one.score,
        params=one.labels,
        distributions=known,
        user_attrs=imported_attributes(trial, one.source, trusted),
        intermediate_values=curve or {trial.epochs or one.last: one.score},
    )
