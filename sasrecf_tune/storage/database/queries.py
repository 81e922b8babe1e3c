"""What is asked of Optuna's tables directly, for one round trip to the server where RDBStorage takes many."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import and_, insert, or_, select
from sqlalchemy.orm import Session

# Of a trial, among the system's: the token of the coordinator that was last given it.
OWNER = "sasrecf_tune:owner"

_Study: Any = models.StudyModel
_Trial: Any = models.TrialModel
_Attribute: Any = models.TrialSystemAttributeModel
_Value: Any = models.TrialIntermediateValueModel


def lock(session: Session, study: int) -> None:
    """Hold the study until the transaction ends; Optuna does the same when it numbers a trial.

    Raises:
        StorageInternalError: it is not there any more.
    """
    row = select(_Study.study_id).where(_Study.study_id == study).with_for_update()
    if session.execute(row).scalar_one_or_none() is None:
        raise StorageInternalError("someone has deleted the study from it")


def states(
    session: Session, study: int, known: Collection[int], last: int
) -> dict[int, tuple[TrialState, Any]]:
    """State and owner of the trials `known`, and of those after `last`, by their ids."""
    rows = session.execute(
        select(_Trial.trial_id, _Trial.state, _Attribute.value_json)
        .outerjoin(_Attribute, and_(_Attribute.trial_id == _Trial.trial_id, _Attribute.key == OWNER))
        .where(_Trial.study_id == study, or_(_Trial.trial_id.in_(known), _Trial.trial_id > last))
    ).all()
    return {trial_id: (state, json.loads(owner or "null")) for trial_id, state, owner in rows}


def add_values(session: Session, values: Sequence[tuple[int, int, float]]) -> None:
    """Add validations, each a trial's id, a step and a value; those that are there already stay."""
    ids, steps = {row[0] for row in values}, {row[1] for row in values}
    there = session.execute(
        select(_Value.trial_id, _Value.step).where(_Value.trial_id.in_(ids), _Value.step.in_(steps))
    ).all()
    known = {(trial_id, step) for trial_id, step in there}
    rows = []
    for trial_id, step, value in values:
        if (trial_id, step) not in known:
            stored, kind = _Value.intermediate_value_to_stored_repr(value)
            row = {"trial_id": trial_id, "step": step, "intermediate_value": stored}
            rows.append(row | {"intermediate_value_type": kind})
    if rows:
        session.execute(insert(_Value), rows)
