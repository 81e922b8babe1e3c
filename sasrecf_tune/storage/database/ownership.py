"""Which trials this process trains: a running trial has one owner, and so each trial has one result.

The owner is the coordinator that the trial's attribute OWNER names. Nobody else writes to the trial. A
coordinator that was taken for dead and comes back finds its trials in the queue and takes them up again, or
finds another owner and discards its results.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from optuna.trial import FrozenTrial, TrialState

# System attribute of a trial: the token of the coordinator that it was last given to.
OWNER = "sasrecf_tune:owner"


def owner_of(trial: FrozenTrial) -> Any:
    """The token of the trial's owner, None if it never had one."""
    return trial.system_attrs.get(OWNER)


class TrialOwnership:
    """The trials that this process trains, and the trials that are known to have ended, by number.

    `token` is that of this process as a coordinator, "" while it is none. `idle_since` is when it found
    nothing to do, on the database's clock, 0 while it trains.
    """

    def __init__(self, trials: Iterable[FrozenTrial]) -> None:
        self.token = ""
        self.idle_since = 0.0
        self.held: set[int] = set()
        self._ended = {trial.number for trial in trials if trial.state.is_finished()}
        self._ending: set[int] = set()  # in the current transaction
        self._finished_by_peers: list[int] = []

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Undo the changes of the block if it fails."""
        held = set(self.held)
        try:
            yield
            self._ended |= self._ending
        except BaseException:
            self.held = held
            raise
        finally:
            self._ending.clear()

    def is_mine(self, trial: FrozenTrial) -> bool:
        """Whether this coordinator was the last that the trial was given to."""
        return bool(self.token) and owner_of(trial) == self.token

    def owns(self, trial: FrozenTrial) -> bool:
        """Whether this process trains the trial, and may end it."""
        return trial.number in self.held and trial.state == TrialState.RUNNING and self.is_mine(trial)

    def ended_here(self, trial: FrozenTrial) -> bool:
        """Whether this process ended the trial, in a transaction whose commit was not confirmed."""
        return trial.number in self.held and trial.state.is_finished() and self.is_mine(trial)

    def take(self, number: int) -> None:
        """This process begins to train the trial."""
        self.held.add(number)
        self.idle_since = 0.0

    def end(self, number: int, state: TrialState) -> None:
        """This process has changed the trial's state to `state`, which is not RUNNING."""
        self.held.discard(number)
        if state.is_finished():
            self._ending.add(number)

    def release(self, trial: FrozenTrial) -> None:
        """This process stops training a trial, which may be another coordinator's by now."""
        self.held.discard(trial.number)
        if trial.state.is_finished() and trial.number not in self._finished_by_peers:
            self._ended.add(trial.number)

    def record_finished(self, trials: Iterable[FrozenTrial]) -> None:
        """Remember which of the trials have been finished by peers."""
        for trial in trials:
            # A trial that was ended here is ended again by the next attempt of the same transaction.
            if trial.state.is_finished() and trial.number not in self._ended and not self.ended_here(trial):
                self._ended.add(trial.number)
                self._finished_by_peers.append(trial.number)

    def take_finished_by_peers(self) -> list[int]:
        """The trials that peers have finished since the last call."""
        found, self._finished_by_peers = self._finished_by_peers, []
        return found
