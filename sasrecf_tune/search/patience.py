"""Ends a search that has not improved for long (--patience)."""

from __future__ import annotations

from sasrecf_tune.trials import State, TrialRecord


class Patience:
    """Counts the epochs of training since the best result.

    It counts epochs instead of trials, since a pruned trial costs little and tells little.

    Args:
        trials: How many full-length trials without a better result exhaust it; None for any number.
        epochs: Epochs of a full-length trial.
        maximize: Whether a larger score is better.
    """

    def __init__(self, trials: int | None, epochs: int, maximize: bool) -> None:
        self._trials = trials
        self._epochs = epochs
        self._sign = 1 if maximize else -1
        self._best: float | None = None
        self._epochs_since_best = 0

    @property
    def exhausted(self) -> bool:
        """Whether no further trial should start; the result of a running trial may still change it."""
        if self._trials is None or self._best is None:
            return False
        return self._epochs_since_best >= self._trials * self._epochs

    def __str__(self) -> str:
        return f"no better result in {self._epochs_since_best} epochs of training (--patience {self._trials})"

    def add_epochs(self, epochs: int) -> None:
        """Count epochs that were trained."""
        self._epochs_since_best += epochs

    def add_result(self, record: TrialRecord) -> None:
        """Begin to count anew if the trial, which has completed or is paused, is the best so far."""
        if record.state not in (State.COMPLETE, State.PAUSED) or record.score is None or record.provisional:
            return
        score = self._sign * record.score
        if self._best is None or score > self._best:
            self._best, self._epochs_since_best = score, 0
