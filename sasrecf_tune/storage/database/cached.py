"""A study in memory whose every change goes to its database: fast for the one process that writes it."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import time
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any, TypeVar

from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from sasrecf_tune.storage.database.dashboard_notes import note_attributes, note_key
from sasrecf_tune.storage.database.errors import CorruptStudyError

T = TypeVar("T")

# Validations reach the database so late at most: they are for those who watch. A trial that is interrupted
# starts anew, and one that ends has all of its own written with its end.
_LATE_SECONDS = 0.5
# What InMemoryStorage calls its first study, which is the only one here. Its trials' ids are their numbers.
STUDY = 0


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Around calls of Optuna's alone, which raises whatever it stumbles on in a damaged row."""
    try:
        yield
    except (StorageInternalError, SQLAlchemyError, sqlite3.Error):
        raise  # these speak of the database itself
    except Exception as error:
        raise CorruptStudyError(f"{type(error).__name__}: {error}") from error


class _Session(Session):
    """Optuna opens, commits and closes a session for each change; while `held`, the changes are one."""

    held = False
    broken = False
    cause: BaseException | None = None

    def commit(self) -> None:
        if self.held:
            self.flush()
        else:
            super().commit()

    def rollback(self) -> None:
        if not self.broken:
            self.broken, self.cause = True, sys.exc_info()[1]
        super().rollback()

    def close(self) -> None:
        if not self.held:
            super().close()


class WriteThroughStorage(InMemoryStorage):
    """One study of `backend`, read once; reads are answered from memory, changes are written through.

    RDBStorage reads the running trials anew for each proposal, each validation and each question of a
    pruner, which costs more than all the rest, and commits some thirty times a trial. The caller holds the
    study exclusively (`lock.exclusive`): what another process writes meanwhile is not seen. Transactions
    are for RDBStorage alone; any other `backend` is written to change by change.

    Raises:
        KeyError: the database has no study called `name`.
        CorruptStudyError: the study is damaged.
    """

    shared = False
    token = ""

    def __init__(self, backend: BaseStorage, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._sessions: scoped_session[_Session] | None = None
        if isinstance(backend, RDBStorage):
            # Another study of the same database has them already, where it was opened before.
            if not issubclass(backend.scoped_session.session_factory.class_, _Session):
                sessions = scoped_session(sessionmaker(bind=backend.engine, class_=_Session))
                backend.scoped_session = sessions  # type: ignore[assignment]  # sessions of a subclass
            self._sessions = backend.scoped_session  # type: ignore[assignment]
        self._backend = backend
        self._clock = clock
        self._late: list[tuple[int, int, float]] = []
        self._late_until = 0.0
        self._name = name
        self._source = backend.get_study_id_from_name(name)
        self._ids: dict[int, int] = {}
        self._read()

    def _read(self) -> None:
        """Fill memory with what the database holds."""
        backend = self._backend
        with _reading():
            directions = backend.get_study_directions(self._source)
            user = backend.get_study_user_attrs(self._source)
            system = backend.get_study_system_attrs(self._source)
            # Not copied: each is when it is put into memory below.
            trials = backend.get_all_trials(self._source, deepcopy=False)
            trials = sorted(trials, key=lambda trial: trial.number)
        if any(trial.number != place for place, trial in enumerate(trials)):
            raise CorruptStudyError("trials have been removed: their numbers are not in one row")
        InMemoryStorage.__init__(self)
        study = InMemoryStorage.create_new_study(self, directions, self._name)
        for key, value in user.items():
            InMemoryStorage.set_study_user_attr(self, study, key, value)
        for key, value in system.items():
            InMemoryStorage.set_study_system_attr(self, study, key, value)
        self._ids = {
            InMemoryStorage.create_new_trial(self, study, trial): trial._trial_id for trial in trials
        }

    def transact(self, change: Callable[[], T], refused: Callable[[], None] = lambda: None) -> T:
        """What `change` returns, after its changes have been written as by `together`.

        `refused` is called whenever they are not, and before that is tried again.
        """
        with self.together():
            return change()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Write all changes made meanwhile in one transaction: all of them reach the disk, or none.

        None when an exception ends the block. Memory is then ahead of the disk: open the study anew.

        Raises:
            StorageInternalError: they could not be written.
        """
        session = self._sessions() if self._sessions else None
        if session is None or session.held:
            yield
            return
        session.held, session.broken, session.cause = True, False, None
        try:
            yield
            session.held = False
            if session.broken:
                raise StorageInternalError(
                    "a change to the study was refused, and those made with it"
                ) from session.cause
            session.commit()
        except SQLAlchemyError as error:
            raise StorageInternalError("the study's changes could not be written") from error
        finally:
            session.held = False
            session.close()  # which takes back what was not committed

    def owns(self, trial_id: int) -> bool:
        """Whether the running trial is this coordinator's to end."""
        return True

    def ended_here(self, trial_id: int) -> bool:
        """Whether this coordinator ended the trial, in a transaction of whose end it has not heard."""
        return False

    def reclaim(self, trial_id: int, owner: str) -> bool:
        """Make an interrupted trial this coordinator's, which `owner`, an earlier run, was training."""
        return False

    def release(self, trial_id: int) -> None:
        """Nothing here trains the trial any more, which another coordinator has been given."""

    @property
    def elsewhere(self) -> int:
        """How many trials other coordinators train."""
        return 0

    def has_silent_peers(self) -> bool:
        """Whether a trial may be trained elsewhere by a coordinator that is dead; to be asked when idle."""
        return False

    def news(self) -> list[int]:
        """Numbers of the trials that others have ended since this was last asked."""
        return []

    @property
    def away(self) -> bool:
        """Whether the database does not answer now."""
        return False

    def stop_retrying(self) -> None:
        """Wait no longer for a database that is away: someone wants an end. For signal handlers."""

    def hangs(self) -> bool:
        """Whether the database has not answered for long since `stop_retrying`. For signal handlers.

        Then raise KeyboardInterrupt, on which drivers leave a connection at once; a storage error follows.
        """
        return False

    @property
    def met_peers(self) -> bool:
        """Whether others have been at work on the study since this coordinator joined."""
        return False

    def others(self) -> list[tuple[str, str]]:
        """Other coordinators at work now: their names, and how each searches."""
        return []

    def follow(self, see: Callable[[Sequence[FrozenTrial]], None]) -> None:
        """Show `see` all trials now, and later those that others have added or changed, before a proposal."""
        see(self.get_all_trials(STUDY, deepcopy=False))

    def join(self, about: str, say: Callable[[str], None]) -> None:
        """Begin to ask for trials; running ones without a live coordinator go back to the queue.

        `about` is how trials are searched, for others; `say` tells people of trouble with the database.
        """
        # The caller holds the study alone, so no running trial has a live coordinator.
        with self.together():  # thousands, when as many workers were at work
            for trial in self.get_all_trials(STUDY, deepcopy=False, states=(TrialState.RUNNING,)):
                self.set_trial_state_values(trial._trial_id, TrialState.WAITING)

    def leave(self, patient: bool = False) -> bool:
        """Ask for no more trials; returns whether nobody else is at work on the study now.

        Being `patient`, find out first whether the others are alive.
        """
        return True

    def study_attributes(self) -> dict[str, Any]:
        """The study's user attributes as they are now; within a transaction."""
        return self.get_study_user_attrs(STUDY)

    def add_seconds(self, key: str, seconds: float) -> float:
        """Add to the study's attribute `key`, which is how long it has been worked on; returns that."""
        spent = float(self.get_study_user_attrs(STUDY).get(key, 0.0)) + seconds
        self.set_study_user_attr(STUDY, key, round(spent, 3))
        return spent

    def write_late(self) -> None:
        """Write what waits, if it has waited long enough."""
        if self._late and self._clock() >= self._late_until:
            with self.together():
                self._write_late()

    def leave_note(self, trial_id: int, text: str) -> None:
        """Leave a note on a trial for optuna-dashboard, unless someone has written one there.

        In the database alone: nothing here reads it again, and what memory holds is copied often.
        """
        source = self._ids[trial_id]
        with self.together():
            if note_key(source) not in self._backend.get_study_system_attrs(self._source):
                for key, value in note_attributes(source, text).items():
                    self._backend.set_study_system_attr(self._source, key, value)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """See BaseStorage."""
        source = self._backend.create_new_trial(self._source, template_trial)
        trial_id = super().create_new_trial(study_id, template_trial)
        self._ids[trial_id] = source
        return trial_id

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """See BaseStorage."""
        super().set_study_user_attr(study_id, key, value)
        self._backend.set_study_user_attr(self._source, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """See BaseStorage."""
        super().set_study_system_attr(study_id, key, value)
        self._backend.set_study_system_attr(self._source, key, value)

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """See BaseStorage."""
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
        self._backend.set_trial_param(self._ids[trial_id], param_name, param_value_internal, distribution)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """See BaseStorage."""
        with self.together():
            self._write_late()
            changed = super().set_trial_state_values(trial_id, state, values)
            return changed and self._backend.set_trial_state_values(self._ids[trial_id], state, values)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """See BaseStorage; written late."""
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)
        if not self._late:
            self._late_until = self._clock() + _LATE_SECONDS
        self._late.append((trial_id, step, intermediate_value))

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See BaseStorage."""
        super().set_trial_user_attr(trial_id, key, value)
        self._backend.set_trial_user_attr(self._ids[trial_id], key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See BaseStorage."""
        super().set_trial_system_attr(trial_id, key, value)
        self._backend.set_trial_system_attr(self._ids[trial_id], key, value)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """See BaseStorage."""
        # InMemoryStorage looks for waiting trials behind the last one that it found, where one that was
        # put back in the queue is not; it knows the question by its tuple.
        if states == (TrialState.WAITING,):
            states = [TrialState.WAITING]
        return super().get_all_trials(study_id, deepcopy, states)

    def _write_late(self) -> None:
        late, self._late = self._late, []
        for trial_id, step, value in late:
            self._backend.set_trial_intermediate_value(self._ids[trial_id], step, value)
