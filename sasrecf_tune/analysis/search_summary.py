"""What the default search has found: predicted final scores, and what is still to be gained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from sasrecf_tune.trials import Prediction, State, TrialRecord, is_ranked

_PREDICTED = (State.COMPLETE, State.PAUSED)


@dataclass(frozen=True)
class SearchSummary:
    """The state of a search that predicts final scores.

    Args:
        predictions: By trial: of the most promising completed and paused ones.
        completed: How many completed trials had a score.
        regret: How much the best configuration is expected to be better than the chosen one, in standard
            deviations between seeds.
        seed_deviation: The standard deviation between seeds, in the metric.
        untried: How many configurations have no trial; None for infinitely many.
        untried_gain: How much the best of them is expected to be better than the chosen one, in standard
            deviations between seeds; None where no trial may begin any more.
        share: The share of `--until` that ends the search: below 1 while few trials were trained to the end.
    """

    predictions: Mapping[int, Prediction]
    completed: int
    regret: float
    seed_deviation: float
    untried: int | None
    untried_gain: float | None
    share: float = 1.0

    def is_over(self, until: float) -> bool:
        """Whether `regret` is small enough for `--until`; 0 is for never."""
        return self.regret < self.share * until

    @property
    def regret_in_metric(self) -> float:
        """`regret` in units of the metric."""
        return self.regret * self.seed_deviation

    @property
    def untried_gain_in_metric(self) -> float | None:
        """`untried_gain` in units of the metric."""
        return None if self.untried_gain is None else self.untried_gain * self.seed_deviation

    def is_of(self, records: Iterable[TrialRecord]) -> bool:
        """Whether no trial has completed since; else a run was killed, or another sampler took over."""
        return sum(map(is_ranked, records)) == self.completed


def with_predictions(records: Iterable[TrialRecord], summary: SearchSummary | None) -> list[TrialRecord]:
    """Set the predicted scores of all trials of a study; without a current summary, there are none."""
    found = list(records)
    known = summary.predictions if summary is not None and summary.is_of(found) else {}
    return [
        replace(record, predicted=known.get(record.number) if record.state in _PREDICTED else None)
        for record in found
    ]
