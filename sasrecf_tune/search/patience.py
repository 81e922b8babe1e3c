"""When a search has gone on long enough without a better result."""

from __future__ import annotations

from sasrecf_tune.trials import State, TrialRecord


class Patience:
    """Counts the epochs trained since the best result; `over` after `trials` times `epochs` of them.

    Epochs, not trials: pruned trials cost little and say little. Trials that run when it is over go on, and
    may change that. With `trials` None it is never over.
    """

    def __init__(self, trials: int | None, epochs: int, maximize: bool) -> None:
        self._trials = trials
        self._epochs = epochs
        self._sign = 1 if maximize else -1
        self._best: float | None = None
        self._barren = 0

    @property
    def over(self) -> bool:
        """Whether it is time to end."""
        if self._trials is None or self._best is None:
            return False
        return self._barren >= self._trials * self._epochs

    def __str__(self) -> str:
        return f"no better result in {self._barren} epochs of training (--patience {self._trials})"

    def trained(self, epochs: int) -> None:
        """So many epochs more have been trained."""
        self._barren += epochs

    def ended(self, record: TrialRecord) -> None:
        """A trial has ended."""
        if record.state != State.COMPLETE or record.score is None:
            return
        score = self._sign * record.score
        if self._best is None or score > self._best:
            self._best, self._barren = score, 0
