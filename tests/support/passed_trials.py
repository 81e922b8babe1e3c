"""The states of a trial that several coordinators train one after another, as trackers are told them."""

from __future__ import annotations

from sasrecf_tune.tracking.run_logs import EpochLog, StateChange, TrialLog
from sasrecf_tune.trials import State, TrialRecord

NUMBER = 3


def passed(state: State, epochs: int, taken: float = 0.0) -> TrialLog:
    """The trial in `state` after so many epochs, as the coordinator tells that took it at time `taken`.

    Each coordinator has other times of the epochs.
    """
    curve = [
        EpochLog(epoch, {"valid/mrr@10": epoch / 10}, 100 + taken + epoch) for epoch in range(1, epochs + 1)
    ]
    record = TrialRecord(NUMBER, state, {"n_layers": 1}, epochs / 10, epochs=epochs, best_epoch=epochs)
    changes = [StateChange(State.RUNNING, 0, taken)]
    changes += [] if state == State.RUNNING else [StateChange(state, epochs, taken + epochs)]
    return TrialLog(NUMBER, {"n_layers": 1}, state, 0.0, tuple(curve), record, None, tuple(changes))
