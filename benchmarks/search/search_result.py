"""What a search found, and when; and when it is stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Stop:
    """When a search is stopped before its own end.

    Attributes:
        score: Once it has a trial with this validation score.
        patience: After this many trials in a row without a better one.
        seconds: After this time.
    """

    score: float | None = None
    patience: int | None = None
    seconds: float | None = None


@dataclass
class SearchResult:
    """What one search found.

    Attributes:
        best: Seconds, number and score of each new best trial.
        scores: Of complete trials, by `cell_key`.
        choice: The parameters that it ends with.
    """

    best: list[tuple[float, int, float]] = field(default_factory=list)
    trials: int = 0
    epochs: int = 0
    seconds: float = 0.0
    since_best: int = 0
    stopped: str | None = None
    scores: dict[str, float] = field(default_factory=dict)
    choice: Params = field(default_factory=dict)

    def add_trial(self, number: int, params: Params, score: float | None, seconds: float) -> None:
        """Add a trial that has ended; `score` is None if it was pruned or failed."""
        self.trials += 1
        if score is not None:
            self.scores[cell_key(params)] = score
        if score is not None and (not self.best or score > self.best[-1][2]):
            self.best.append((seconds, number, score))
            self.choice = params
            self.since_best = 0
        else:
            self.since_best += 1

    def should_stop(self, stop: Stop) -> bool:
        """Return whether the search is to be stopped, and keep why in `stopped`."""
        if stop.score is not None and self.time_to(stop.score) is not None:
            self.stopped = "score"
        elif stop.patience is not None and self.since_best >= stop.patience:
            self.stopped = "patience"
        elif stop.seconds is not None and self.seconds >= stop.seconds:
            self.stopped = "time"
        return self.stopped is not None

    def time_to(self, score: float) -> float | None:
        """Return the seconds until a trial had ended with `score` or more."""
        return next((seconds for seconds, _, found in self.best if found >= score), None)

    def to_json(self, score: float) -> dict[str, Any]:
        """Return the result for the JSON, and when it had a trial with `score`; None for never."""
        reached = self.time_to(score)
        return {
            "seconds_to_score": None if reached is None else round(reached, 1),
            "stopped": self.stopped,
            "trials": self.trials,
            "epochs": self.epochs,
            "seconds": round(self.seconds, 1),
            "choice": dict(self.choice),
            "best": [[round(seconds, 1), trial, score] for seconds, trial, score in self.best],
        }


def cell_key(params: Params) -> str:
    """Return what is equal for the same configuration."""
    return json.dumps(dict(params), sort_keys=True)


def score_on(choice: Params, grids: Sequence[SearchResult]) -> float | None:
    """Return the mean score of a configuration in grids on other seeds; None without one."""
    return mean(grid.scores[cell_key(choice)] for grid in grids) if grids else None
