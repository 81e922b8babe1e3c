"""The learning curves of a study's trials, as a search policy sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from optuna.trial import FrozenTrial, TrialState

from sasrecf_tune.search.imported_trials import import_of, is_provisional
from sasrecf_tune.search.paused_checkpoints import PausedCheckpoints
from sasrecf_tune.search.policy import Curve, CurveState
from sasrecf_tune.search.trial_attributes import PAUSED, UNTIL, Pause, is_paused

_STATES = {
    TrialState.COMPLETE: CurveState.ENDED,
    TrialState.PRUNED: CurveState.PRUNED,
    TrialState.FAIL: CurveState.FAILED,
    TrialState.RUNNING: CurveState.RUNNING,
    TrialState.WAITING: CurveState.RUNNING,  # interrupted: it goes on before the policy is asked for more
}


class CurveReader:
    """Reads curves, each of them once as long as its trial does not change.

    Args:
        names: Of the parameters. Trials without all of them, which never began, have no curve.
        checkpoints: Of the paused trials.
    """

    def __init__(self, names: Sequence[str], checkpoints: PausedCheckpoints) -> None:
        self._names = names
        self._checkpoints = checkpoints
        # With its trial, which Optuna's storage in memory replaces whenever it changes.
        self._cache: dict[int, tuple[FrozenTrial, Curve | None]] = {}

    def read(self, trials: Iterable[FrozenTrial]) -> dict[int, Curve]:
        """The curves of all trials by number.

        A running trial has the `until` that is recorded, or a larger one: it is busy.
        """
        curves: dict[int, Curve] = {}
        for trial in trials:
            known, curve = self._cache.get(trial.number, (None, None))
            if known is not trial:
                curve = self._read(trial)
                self._cache[trial.number] = trial, curve
            if curve is not None:
                curves[trial.number] = curve
        return curves

    def _read(self, trial: FrozenTrial) -> Curve | None:
        labels = trial.params
        if any(name not in labels for name in self._names):
            return None
        paused = is_paused(trial)
        state = CurveState.PAUSED if paused else _STATES[trial.state]
        scores = dict(sorted(trial.intermediate_values.items()))
        last = max(scores, default=0)
        until = 0
        if state == CurveState.RUNNING:
            until = max(int(trial.system_attrs.get(UNTIL, 0)), last + 1)
        imported = import_of(trial) is not None
        pause: Pause = trial.user_attrs.get(PAUSED, {})
        return Curve(
            number=trial.number,
            labels=labels,
            scores=scores,
            state=state,
            until=until,
            checkpoint=self._checkpoints.epoch(trial.number, pause) if paused else 0,
            # What an imported trial took on another machine says nothing of this one.
            seconds=0.0 if imported else _seconds(trial.user_attrs, last),
            imported=imported,
            provisional=is_provisional(trial),
        )


def _seconds(attributes: Mapping[str, object], last: int) -> float:
    """The time that was recorded when a trial was paused or ended, if there is no later score."""
    seconds = attributes.get("training_seconds") or attributes.get("seconds", 0.0)
    return float(seconds) if attributes.get("epochs") == last and isinstance(seconds, int | float) else 0.0
