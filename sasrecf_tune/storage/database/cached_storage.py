"""A study in memory whose every change is written to its database: fast for the process that writes it."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from typing_extensions import override

from sasrecf_tune.storage.database.dashboard_notes import note_attributes, note_key
from sasrecf_tune.storage.database.errors import CorruptStudyError
from sasrecf_tune.storage.database.optuna_internals import STUDY_ID, MemoryStorage, storage_id

T = TypeVar("T")

# How long intermediate values may stay in memory only: they are for those who watch. A trial that is
# interrupted starts anew, and one that ends has all of its values written with its end.
_FLUSH_SECONDS = 0.5


@contextlib.contextmanager
def corruption_errors() -> Iterator[None]:
    """Turn whatever Optuna raises on a corrupt row into a CorruptStudyError.

    Raises:
        CorruptStudyError: Optuna cannot read a row.
    """
    try:
        yield
    except (StorageInternalError, SQLAlchemyError, sqlite3.Error):
        raise  # the database itself failed
    except Exception as error:
        raise CorruptStudyError("Optuna cannot read a value in its tables") from error


class _Session(Session):
    """A session that RDBStorage commits for each change, unless it is inside a larger transaction."""

    in_transaction_block = False
    refused = False
    cause: BaseException | None = None

    @override
    def commit(self) -> None:
        if self.in_transaction_block:
            self.flush()
        else:
            super().commit()

    @override
    def rollback(self) -> None:
        if not self.refused:
            self.refused, self.cause = True, sys.exc_info()[1]
        super().rollback()

    @override
    def close(self) -> None:
        if not self.in_transaction_block:
            super().close()


class WriteThroughStorage(MemoryStorage):
    """One study of `backend`, read once; reads are answered from memory, changes are written through.

    RDBStorage reads the running trials again for each proposal, each intermediate value and each question of
    a pruner, which costs more than everything else, and commits some thirty times a trial. The caller holds
    the study exclusively (`lock.exclusive`): changes of another process are not seen. Transactions need an
    RDBStorage; any other `backend` is written change by change.

    Raises:
        KeyError: the database has no study called `name`.
        CorruptStudyError: the study is corrupt.
    """

    def __init__(self, backend: BaseStorage, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._sessions = _grouping_sessions(backend) if isinstance(backend, RDBStorage) else None
        self.clock = clock
        # Called with each trial that others have added or changed.
        self.check_trial: Callable[[FrozenTrial], None] = lambda _: None
        self.backend = backend
        self.backend_study_id = backend.get_study_id_from_name(name)
        self._backend_ids: list[int] = []  # of the trials, by number
        self._unwritten: list[tuple[int, int, float]] = []
        self._flush_at = 0.0
        self._study_name = name
        self._read()

    def _read(self) -> None:
        """Fill memory with what the database holds."""
        backend, study_id = self.backend, self.backend_study_id
        with corruption_errors():
            directions = backend.get_study_directions(study_id)
            user = backend.get_study_user_attrs(study_id)
            system = backend.get_study_system_attrs(study_id)
            # No copies: `load` makes one of each.
            trials = backend.get_all_trials(study_id, deepcopy=False)
            trials = sorted(trials, key=lambda trial: trial.number)
        if any(trial.number != place for place, trial in enumerate(trials)):
            raise CorruptStudyError("trials were removed: their numbers are not consecutive")
        with corruption_errors():
            self.load(self._study_name, directions, user, system, trials)
        self._backend_ids = [storage_id(trial) for trial in trials]

    def transact(self, change: Callable[[], T], on_refusal: Callable[[], None] = lambda: None) -> T:
        """Call `change` in a transaction.

        Args:
            change: makes the changes; it may be called again.
            on_refusal: called each time that a server refuses, before the next attempt.

        Returns:
            What `change` returns.
        """
        with self.transaction():
            return change()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all changes of the block in one transaction: all of them reach the disk, or none.

        None does when an exception ends the block. Memory is then ahead of the disk: open the study anew.

        Raises:
            StorageInternalError: they could not be written.
        """
        session = self._sessions() if self._sessions else None
        if session is None or session.in_transaction_block:
            yield
            return
        session.in_transaction_block, session.refused, session.cause = True, False, None
        try:
            yield
            session.in_transaction_block = False
            if session.refused:
                raise StorageInternalError(
                    "a change to the study was refused, and with it the whole transaction"
                ) from session.cause
            session.commit()
        except SQLAlchemyError as error:
            raise StorageInternalError("the study's changes could not be written") from error
        finally:
            session.in_transaction_block = False
            session.close()  # rolls back what was not committed

    def read_study_attributes(self) -> dict[str, Any]:
        """The study's user attributes as they are now; for use within a transaction."""
        return self.get_study_user_attrs(STUDY_ID)

    def flush_if_due(self) -> None:
        """Write the intermediate values that are in memory only, if they have been for long enough."""
        if self._unwritten and self.clock() >= self._flush_at:
            self.transact(self._flush)

    def add_note(self, number: int, text: str) -> None:
        """Add a note on a trial for optuna-dashboard, unless it has one.

        It is in the database only: nothing here reads it again, and what memory holds is copied often.
        """
        backend_id = self._backend_ids[number]
        with self.transaction():
            if note_key(backend_id) not in self.backend.get_study_system_attrs(self.backend_study_id):
                for key, value in note_attributes(backend_id, text).items():
                    self.backend.set_study_system_attr(self.backend_study_id, key, value)

    @override
    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        backend_id = self.backend.create_new_trial(self.backend_study_id, template_trial)
        number = super().create_new_trial(study_id, template_trial)
        self._backend_ids.append(backend_id)
        return number

    @override
    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        super().set_study_user_attr(study_id, key, value)
        self.backend.set_study_user_attr(self.backend_study_id, key, value)

    @override
    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        super().set_study_system_attr(study_id, key, value)
        self.backend.set_study_system_attr(self.backend_study_id, key, value)

    @override
    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
        backend_id = self._backend_ids[trial_id]
        self.backend.set_trial_param(backend_id, param_name, param_value_internal, distribution)

    @override
    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        with self.transaction():
            self._flush()
            changed = super().set_trial_state_values(trial_id, state, values)
            return changed and self.backend.set_trial_state_values(self._backend_ids[trial_id], state, values)

    @override
    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)
        if not self._unwritten:
            self._flush_at = self.clock() + _FLUSH_SECONDS
        self._unwritten.append((trial_id, step, intermediate_value))

    @override
    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        super().set_trial_user_attr(trial_id, key, value)
        self.backend.set_trial_user_attr(self._backend_ids[trial_id], key, value)

    @override
    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        super().set_trial_system_attr(trial_id, key, value)
        self.backend.set_trial_system_attr(self._backend_ids[trial_id], key, value)

    def _flush(self) -> None:
        unwritten, self._unwritten = self._unwritten, []
        for number, step, value in unwritten:
            self.backend.set_trial_intermediate_value(self._backend_ids[number], step, value)


def _grouping_sessions(storage: RDBStorage) -> scoped_session[_Session]:
    """Have `storage` use sessions that can group its changes.

    They are there already if another study of the same database was opened before.
    """
    sessions: Any = storage.scoped_session
    if not issubclass(sessions.session_factory.class_, _Session):
        sessions = scoped_session(sessionmaker(bind=storage.engine, class_=_Session))
        storage.scoped_session = sessions
    grouping: scoped_session[_Session] = sessions
    return grouping
