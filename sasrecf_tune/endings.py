"""What a study records of a trial that has ended."""

from __future__ import annotations

from typing import Any

from optuna.trial import TrialState

from sasrecf_tune.messages import Decision, Failure, Result


def ending(outcome: Result | Failure) -> tuple[TrialState, dict[str, Any]]:
    """The state that the trial ends in, and its attributes."""
    attributes: dict[str, Any]
    if isinstance(outcome, Failure):
        return TrialState.FAIL, {
            "error": outcome.reason,
            "error_kind": outcome.kind,
            "epochs": outcome.epochs,
            "seconds": round(outcome.seconds, 3),
        }
    attributes = {
        "epochs": outcome.epochs,
        "best_epoch": outcome.best_epoch,
        "seconds": round(outcome.seconds, 3),
        "valid": outcome.valid,
        "device": outcome.device,
        "threads": outcome.threads,
        "fused": outcome.fused,
        "parameters": outcome.parameters,
    }
    if outcome.notes:
        attributes["notes"] = list(outcome.notes)
    if outcome.decision is Decision.PRUNE:
        return TrialState.PRUNED, attributes
    return TrialState.COMPLETE, attributes | {"test": outcome.test}
