"""A study in a server's database that several coordinators work on at once.

Each has the study in memory, as `WriteThroughStorage` does. Every change is made in a transaction that locks
the row of the study and first reads what others have changed, so that no two coordinators are given the same
trial or grid cell, and totals are exact. The server releases the row when the connection ends or idles.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, TypeVar

from optuna.exceptions import StorageInternalError
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from typing_extensions import override

from sasrecf_tune.storage.database.cached_storage import WriteThroughStorage
from sasrecf_tune.storage.database.errors import CorruptStudyError
from sasrecf_tune.storage.database.optuna_internals import (
    STUDY_ID,
    add_intermediate_values,
    lock_study,
    read_states,
    read_trials,
    storage_id,
)
from sasrecf_tune.storage.database.ownership import OWNER, TrialOwnership, owner_of
from sasrecf_tune.storage.database.reconnect import ReconnectPolicy

T = TypeVar("T")


class SharedStorage(WriteThroughStorage):
    """One study of `backend`, a server's database, that others change too.

    It does not follow the intermediate values of trials that others train. `on_lock` is called in each
    transaction, when memory is up to date; `on_change` with the trials that others have added or changed.
    """

    backend: RDBStorage

    def __init__(self, backend: RDBStorage, name: str) -> None:
        self.on_lock: Callable[[Session], None] = lambda _: None
        self.on_change: Callable[[Sequence[FrozenTrial]], None] = lambda _: None
        self.reconnect = ReconnectPolicy()
        self._unwritten_attributes: list[tuple[int, str, Any]] = []
        self._writing: list[tuple[int, int, float]] = []  # with the current transaction
        self._stale = False  # whether memory may differ from the database
        super().__init__(backend, name)
        self.ownership = TrialOwnership(self.trials())

    @contextlib.contextmanager
    @override
    def transaction(self) -> Iterator[None]:
        """Write all changes of the block in one transaction, in which nobody else changes the study.

        When it fails, memory is read anew in the next transaction.
        """
        if self._in_transaction:
            yield
            return
        try:
            with self.ownership.transaction(), super().transaction():
                lock_study(self.session, self.backend_study_id)
                self._refresh()
                self.on_lock(self.session)
                self._flush()
                yield
        except BaseException:
            self._stale = True
            self._unwritten = self._writing + self._unwritten
            raise
        else:
            self._unwritten_attributes.clear()
        finally:
            self._writing = []

    @override
    def transact(self, change: Callable[[], T], on_refusal: Callable[[], None] = lambda: None) -> T:
        # While the database is unavailable, it is tried again for a while; then not any more.
        if self._in_transaction:
            return change()
        while True:
            if self.reconnect.final_error is not None:
                on_refusal()
                raise self.reconnect.final_error
            try:
                with self.reconnect.attempt():
                    result = super().transact(change)
            except BaseException as error:
                on_refusal()
                if self.reconnect.final_error is not None:  # the attempt was broken off
                    raise self.reconnect.final_error from None
                is_refusal = isinstance(error, StorageInternalError | SQLAlchemyError)
                if not is_refusal or not self.reconnect.wait_to_retry(error):
                    raise
            else:
                self.reconnect.report_success()
                return result

    @property
    def session(self) -> Session:
        """The session of this thread."""
        assert self._sessions is not None
        return self._sessions()

    @property
    def _in_transaction(self) -> bool:
        assert self._sessions is not None
        return self._sessions().in_transaction_block

    @override
    def read_study_attributes(self) -> dict[str, Any]:
        found = self.backend.get_study_user_attrs(self.backend_study_id)
        for key, value in found.items():
            InMemoryStorage.set_study_user_attr(self, STUDY_ID, key, value)
        return found

    @override
    def flush_if_due(self) -> None:
        # Every transaction begins by writing what is in memory only.
        if (self._unwritten or self._unwritten_attributes) and self.clock() >= self._flush_at:
            self.transact(lambda: None)

    def resume_waiting(self, numbers: Collection[int]) -> None:
        """Run own trials again that others sent back to the queue, but that nobody has taken yet."""
        unwritten, self._unwritten = self._unwritten, []  # to be written when the trials are running again
        try:
            for number in numbers:
                self.set_trial_state_values(number, TrialState.RUNNING)
        finally:
            self._unwritten = unwritten
        self._restore_unwritten()

    def requeue(self, numbers: Collection[int]) -> None:
        """Send running trials of others back to the queue."""
        ids = {self._backend_ids[number] for number in numbers}
        for backend_id in ids:
            self.backend.set_trial_state_values(backend_id, TrialState.WAITING)
        if ids:
            self.session.expire_all()
            self._load(ids)

    @override
    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        def create() -> int:
            number = super(SharedStorage, self).create_new_trial(study_id, template_trial)
            if template_trial is not None and template_trial.state.is_finished():
                self.ownership.end(number, template_trial.state)
            else:
                self._take(number)
            return number

        return self.transact(create)

    @override
    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        def change() -> bool:
            changed = super(SharedStorage, self).set_trial_state_values(trial_id, state, values)
            if changed and state == TrialState.RUNNING:
                self._take(trial_id)
            elif changed:
                self.ownership.end(trial_id, state)
            return changed

        return self.transact(change)

    @override
    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self.transact(lambda: super(SharedStorage, self).set_study_user_attr(study_id, key, value))

    @override
    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if self._in_transaction:
            super().set_trial_system_attr(trial_id, key, value)
        else:  # a pruner's note on an intermediate value, which is written with that
            InMemoryStorage.set_trial_system_attr(self, trial_id, key, value)
            self._unwritten_attributes.append((trial_id, key, value))

    def _refresh(self) -> None:
        """Read what others have changed since the last transaction."""
        if self._stale:
            self._read()
            self._stale = False
            self._report_change(self.trials())
            return
        last = self._backend_ids[-1] if self._backend_ids else -1
        known = {self._backend_ids[one.number]: one for one in self.trials() if not one.state.is_finished()}
        now = read_states(self.session, self.backend_study_id, known, last, OWNER)
        changed = {
            backend_id
            for backend_id, trial in known.items()
            if now.get(backend_id) != (trial.state, owner_of(trial))
        }
        if changed or any(backend_id > last for backend_id in now):
            self._load(changed)

    def _load(self, changed: set[int]) -> None:
        """Read the trials with the database's IDs `changed`, and those that are new."""
        last = self._backend_ids[-1] if self._backend_ids else -1
        numbers = []
        for trial in read_trials(self.backend, self.backend_study_id, changed, last):
            backend_id, number = storage_id(trial), trial.number
            if number == len(self._backend_ids):
                self._backend_ids.append(backend_id)
            elif self._backend_ids[number : number + 1] != [backend_id]:
                raise CorruptStudyError("trials were removed: their numbers are not consecutive")
            self.put(trial)
            numbers.append(number)
        self._report_change([self.trials()[number] for number in numbers])

    def _report_change(self, trials: Sequence[FrozenTrial]) -> None:
        for trial in trials:
            self.check_trial(trial)
        self.ownership.record_finished(trials)
        self._restore_unwritten()
        self.on_change([self.trials()[trial.number] for trial in trials])

    def _restore_unwritten(self) -> None:
        """Put intermediate values that the database lacks into the trials that were read from it."""
        for number, step, value in self._unwritten:
            if self.ownership.owns(self.trials()[number]):
                InMemoryStorage.set_trial_intermediate_value(self, number, step, value)

    def _take(self, number: int) -> None:
        if self.ownership.token:
            self.set_trial_system_attr(number, OWNER, self.ownership.token)
            self.ownership.take(number)

    @override
    def _flush(self) -> None:
        """Write what is in memory only, but nothing on trials that are another coordinator's by now."""
        mine = {number for number in self.ownership.held if self.ownership.owns(self.trials()[number])}
        values = [(self._backend_ids[n], step, value) for n, step, value in self._unwritten if n in mine]
        self._writing, self._unwritten = self._writing + self._unwritten, []
        if values:
            add_intermediate_values(self.session, values)
        for number, key, value in self._unwritten_attributes:
            if number in mine:
                self.backend.set_trial_system_attr(self._backend_ids[number], key, value)
