"""All that is used of Optuna beyond its public API: the one module that a new release of Optuna can break.

Optuna's tables are queried directly where RDBStorage needs many round trips to the server.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Container, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.exceptions import StorageInternalError
from optuna.samplers import CmaEsSampler
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import and_, delete, exists, insert, or_, select, update
from sqlalchemy.orm import Session
from typing_extensions import override

# The ID that InMemoryStorage gives its first study.
STUDY_ID = 0
# System attribute of a trial: the parameters that it was put in the queue with.
QUEUED = "fixed_params"
TABLES = models.BaseModel.metadata.tables
StudyAttribute: Any = models.StudySystemAttributeModel

_Study: Any = models.StudyModel
_Trial: Any = models.TrialModel
_Attribute: Any = models.TrialSystemAttributeModel
_Value: Any = models.TrialIntermediateValueModel
_Parameter: Any = models.TrialParamModel
_UserAttribute: Any = models.TrialUserAttributeModel


class MemoryStorage(InMemoryStorage):
    """An InMemoryStorage of one study, whose trials can be replaced; the ID of a trial is its number."""

    def load(
        self,
        name: str,
        directions: Sequence[StudyDirection],
        user_attrs: Mapping[str, Any],
        system_attrs: Mapping[str, Any],
        trials: Sequence[FrozenTrial],
    ) -> None:
        """Forget everything, and hold this study."""
        InMemoryStorage.__init__(self)
        InMemoryStorage.create_new_study(self, directions, name)
        for key, value in user_attrs.items():
            InMemoryStorage.set_study_user_attr(self, STUDY_ID, key, value)
        for key, value in system_attrs.items():
            InMemoryStorage.set_study_system_attr(self, STUDY_ID, key, value)
        for trial in trials:
            self.put(trial)

    def put(self, trial: FrozenTrial) -> None:
        """Replace the trial of the same number, or append `trial` if its number is the next one."""
        number = trial.number
        for key in list(filter(is_sampler_state, trial.system_attrs)):
            del trial.system_attrs[key]
        if number == len(self.trials()):
            InMemoryStorage.create_new_trial(self, STUDY_ID, trial)
            return
        trial._trial_id = number
        self._set_trial(number, trial)
        self._update_cache(number, STUDY_ID)

    def trials(self) -> list[FrozenTrial]:
        """All trials by number, not copied."""
        return self._studies[STUDY_ID].trials

    @override
    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        # InMemoryStorage skips the trials before the last waiting one that it found, where a trial that was
        # put back in the queue can be. It does so for exactly this tuple.
        if states == (TrialState.WAITING,):
            states = [TrialState.WAITING]
        return super().get_all_trials(study_id, deepcopy, states)


class ReplayingCmaEsSampler(CmaEsSampler):
    """A CmaEsSampler that computes its state from the trials.

    Optuna's own keeps the state as a pickle in the database, where someone else could have put another one.
    A sequential search proposes the same values with both.
    """

    _completed: Sequence[FrozenTrial] = ()

    @override
    def _restore_optimizer(self, completed_trials: list[FrozenTrial]) -> None:
        self._completed = completed_trials

    @override
    def _init_optimizer(self, trans: Any, direction: StudyDirection) -> Any:
        rng = self._cma_rng.rng
        before = rng.get_state()
        optimizer = super()._init_optimizer(trans, direction)
        if self._get_solution_trials(list(self._completed), 1):
            rng.set_state(before)  # Optuna's would have read its state, and drawn no seed for it
        sign = 1.0 if direction == StudyDirection.MINIMIZE else -1.0
        while True:
            told = self._get_solution_trials(list(self._completed), optimizer.generation)
            if len(told) < optimizer.population_size:
                return optimizer
            optimizer.tell(
                [(trans.transform(t.params), sign * t.values[0]) for t in told[: optimizer.population_size]]
            )

    @override
    def _split_optimizer_str(self, optimizer_str: str) -> dict[str, str]:
        return {}  # nothing is stored


def same_values(expected: BaseDistribution, recorded: BaseDistribution, value: Any) -> bool:
    """Whether a recorded distribution can stand for the expected one, which has this value."""
    try:
        check_distribution_compatibility(recorded, expected)
        return expected._contains(expected.to_internal_repr(value))
    except (ValueError, TypeError, OverflowError):
        return False


def is_sampler_state(key: str) -> bool:
    """Whether a system attribute of a trial is what a sampler proposed, which the trial's parameters say too.

    Samplers parse it without any check, and somebody else could have written it.
    """
    return key.startswith(("tpe:", "gp:"))


def storage_id(trial: FrozenTrial) -> int:
    """The ID of a trial in the storage that it was read from."""
    return trial._trial_id


def read_trials(storage: RDBStorage, study_id: int, ids: set[int], after: int) -> list[FrozenTrial]:
    """Read the trials `ids`, and all whose ID is greater than `after`."""
    return storage._get_trials(study_id, None, ids, after)


def lock_study(session: Session, study_id: int) -> None:
    """Lock the study until the transaction ends, as Optuna does when it numbers a trial.

    Raises:
        StorageInternalError: the study was deleted.
    """
    row = select(_Study.study_id).where(_Study.study_id == study_id).with_for_update()
    if session.execute(row).scalar_one_or_none() is None:
        raise StorageInternalError("the study was deleted from the database")


def read_states(
    session: Session, study_id: int, ids: Collection[int], after: int, key: str
) -> dict[int, tuple[TrialState, Any]]:
    """State and system attribute `key` of the trials `ids`, and of those after `after`, by ID."""
    rows = session.execute(
        select(_Trial.trial_id, _Trial.state, _Attribute.value_json)
        .outerjoin(_Attribute, and_(_Attribute.trial_id == _Trial.trial_id, _Attribute.key == key))
        .where(_Trial.study_id == study_id, or_(_Trial.trial_id.in_(ids), _Trial.trial_id > after))
    ).all()
    return {trial_id: (state, json.loads(value or "null")) for trial_id, state, value in rows}


def requeue_failed(session: Session, study_id: int) -> int:
    """Make failed trials waiting ones, which have their parameters and nothing else; returns how many.

    Optuna does not change a trial that has ended. Those without parameters, which never began, stay.
    """
    has_parameters = exists().where(_Parameter.trial_id == _Trial.trial_id)
    failed = (_Trial.study_id == study_id, _Trial.state == TrialState.FAIL, has_parameters)
    ids = list(session.execute(select(_Trial.trial_id).where(*failed)).scalars())
    for table in (_Value, _UserAttribute):
        session.execute(delete(table).where(table.trial_id.in_(ids)))
    for trial_id in ids:  # the note on the failure
        is_note = StudyAttribute.key.startswith(f"dashboard:{trial_id}:note", autoescape=True)
        session.execute(delete(StudyAttribute).where(StudyAttribute.study_id == study_id, is_note))
    trials = TABLES["trials"]
    anew = {"state": TrialState.WAITING, "datetime_start": None, "datetime_complete": None}
    session.execute(update(trials).where(trials.c.trial_id.in_(ids)).values(anew))
    return len(ids)


def add_intermediate_values(session: Session, values: Sequence[tuple[int, int, float]]) -> None:
    """Add intermediate values (trial ID, step, value); those that exist stay as they are."""
    ids, steps = {row[0] for row in values}, {row[1] for row in values}
    existing = session.execute(
        select(_Value.trial_id, _Value.step).where(_Value.trial_id.in_(ids), _Value.step.in_(steps))
    ).all()
    known = {(trial_id, step) for trial_id, step in existing}
    rows = []
    for trial_id, step, value in values:
        if (trial_id, step) not in known:
            stored, kind = _Value.intermediate_value_to_stored_repr(value)
            row = {"trial_id": trial_id, "step": step, "intermediate_value": stored}
            rows.append(row | {"intermediate_value_type": kind})
    if rows:
        session.execute(insert(_Value), rows)
