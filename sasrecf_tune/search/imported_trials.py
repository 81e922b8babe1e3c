"""How a study stores trials that were trained elsewhere."""

from __future__ import annotations

import math
from typing import Any, TypedDict

from optuna.trial import FrozenTrial

from sasrecf_tune.inputs.earlier_trials import EarlierTrial

# User attribute of a trial that was imported.
IMPORTED = "sasrecf_tune:imported"


class Import(TypedDict):
    """Where an imported trial is from.

    Attributes:
        source: A study, a file or an address.
        trusted: Whether it ranks like trials that were trained in the study.
    """

    source: str
    trusted: bool


def imported_attributes(trial: EarlierTrial, source: str, trusted: bool) -> dict[str, Any]:
    """The user attributes of a trial of an earlier search; what was not recorded is left out."""
    attributes: dict[str, Any] = {
        IMPORTED: Import(source=source, trusted=trusted),
        "epochs": trial.epochs,
        "best_epoch": trial.best_epoch,
        "seconds": round(trial.seconds, 3),
        "valid": {key: value for key, value in trial.valid.items() if math.isfinite(value)},
        "seed": trial.seed,
        "test": dict(trial.test),
        "parameters": trial.weights,
    }
    return {key: value for key, value in attributes.items() if value or (key, value) == ("seed", 0)}


def import_of(trial: FrozenTrial) -> Import | None:
    """Where the trial was imported from; None if it was trained in the study."""
    found: Import | None = trial.user_attrs.get(IMPORTED)
    return found


def is_provisional(trial: FrozenTrial) -> bool:
    """Whether the trial was imported and is not trusted: its configuration may be trained in the study."""
    found = import_of(trial)
    return found is not None and not found["trusted"]
