"""Reads from a study's database what trackers are told of a trial."""

from __future__ import annotations

import re
import secrets

from sasrecf_tune.search.study import TuneStudy
from sasrecf_tune.search.trial_attributes import CURVE, LOSSES
from sasrecf_tune.tracking.run_logs import EpochLog, TrialLog

# User attribute of the study: its id in trackers.
_LOG_ID = "sasrecf_tune:log_id"
LOSS = "train_loss"


def study_log_id(study: TuneStudy) -> str:
    """The id of the study in trackers, which is recorded at the first call."""
    new = secrets.token_hex(6)

    def change() -> str:
        # As it is now: another coordinator may have recorded one since the study was opened.
        known = study.storage.read_study_attributes().get(_LOG_ID)
        if isinstance(known, str) and re.fullmatch("[0-9a-f]{12}", known):
            return known
        study.optuna.set_user_attr(_LOG_ID, new)
        return new

    return study.transact(change)


def curve_values(metrics: dict[str, float], loss: float | None) -> dict[str, float]:
    """The values of the curves at an epoch, by name."""
    values = {f"valid/{name}": value for name, value in metrics.items()}
    return values if loss is None else {LOSS: loss} | values


def read_trial(study: TuneStudy, number: int, metric: str) -> TrialLog:
    """What the database has of a trial.

    Args:
        metric: The study's metric, as in the results of a validation.
    """
    trial, record = study.trials()[number], study.record(number)
    epochs = sorted(trial.intermediate_values.items())
    curves, losses = trial.system_attrs.get(CURVE, {}), trial.system_attrs.get(LOSSES, [])
    begun = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
    ended = trial.datetime_complete.timestamp() if trial.datetime_complete else begun + record.seconds
    logs = []
    for place, (epoch, score) in enumerate(epochs):
        metrics = {name: values[place] for name, values in curves.items() if place < len(values)}
        loss = losses[place] if place < len(losses) else None
        time = begun + (ended - begun) * (place + 1) / len(epochs)
        complete = loss is not None and metric in metrics
        logs.append(EpochLog(epoch, curve_values({metric: score} | metrics, loss), time, complete))
    about: dict[str, int | str] = {} if record.seed is None else {"seed": record.seed}
    about |= {"imported": record.imported} if record.imported else {}  # it was not trained in the study
    return TrialLog(
        number=number,
        params=record.params | about,
        state=record.state,
        started=begun,
        epochs=tuple(logs),
        record=record,
        ended=ended if trial.state.is_finished() else None,
    )
