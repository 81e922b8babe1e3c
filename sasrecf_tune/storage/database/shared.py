"""A study in a server's database that several coordinators work on at once.

Each has it in memory, as `WriteThroughStorage` does. Whatever changes it does so in a transaction that holds
the study's row and begins with reading what others have changed since, so that no two are given the same
trial or cell, and totals are totals. The server
lets go of the row when the holder's connection ends, or idles.

A trial belongs to the coordinator that its attribute OWNER names while it is running. Nobody else writes to
it: one that was taken for dead and comes back finds its trials in the queue, and takes them up again, or with
another owner, and drops what it has of them. So each trial has one result, which is its owner's.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from optuna.exceptions import StorageInternalError
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from sasrecf_tune.storage.database import heartbeats
from sasrecf_tune.storage.database.cached import STUDY, WriteThroughStorage
from sasrecf_tune.storage.database.errors import CorruptStudyError
from sasrecf_tune.storage.database.heartbeats import Heartbeat, this_process
from sasrecf_tune.storage.database.queries import OWNER, add_values, lock, states
from sasrecf_tune.storage.database.reconnect import ReconnectPolicy

T = TypeVar("T")

# Of the study: up to when, on the database's clock, its seconds have been counted.
_COUNTED = "sasrecf_tune:counted_until"
# How often one that has nothing to do looks at the others.
_LOOK_SECONDS = 1.0


class SharedStorage(WriteThroughStorage):
    """One study of `backend`, a server's database; see above.

    Of trials that run elsewhere it does not follow the validations.
    """

    shared = True

    def __init__(
        self,
        backend: RDBStorage,
        name: str,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._see: Callable[[Sequence[FrozenTrial]], None] = lambda _: None
        self._outages = ReconnectPolicy(clock, pause)
        self._pause = pause
        self._held: set[int] = set()  # what this process trains, by number
        self._ended: set[int] = set()  # what is known to have ended
        self._ending: set[int] = set()  # what ends with this transaction
        self._news: list[int] = []
        self._late_attributes: list[tuple[int, str, Any]] = []
        self._writing: list[tuple[int, int, float]] = []
        self._torn = False  # whether memory may differ from the database
        self._next_look = 0.0
        super().__init__(backend, name, clock)
        self._database = backend
        self._attendance = Heartbeat(self._source)
        self._ended = {trial.number for trial in self._all() if trial.state.is_finished()}

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """See `WriteThroughStorage`; nobody else changes the study meanwhile.

        When it fails, memory is read anew in the next transaction.
        """
        assert self._sessions is not None
        session = self._sessions()
        if session.held:
            yield
            return
        held = set(self._held)
        try:
            with super().together():
                self._hold(session)
                yield
        except BaseException:
            self._torn, self._held = True, held
            self._late, self._writing = self._writing + self._late, []
            raise
        else:
            self._ended |= self._ending
            self._late_attributes.clear()
        finally:
            self._ending.clear()
            self._writing = []

    def transact(self, change: Callable[[], T], refused: Callable[[], None] = lambda: None) -> T:
        """Override. While the database is away, it is tried again for a while; then not any more."""
        if self._inside:
            return change()
        while True:
            if self._outages.gave_up is not None:
                refused()
                raise self._outages.gave_up
            try:
                with self._outages.trying():
                    done = super().transact(change)
            except BaseException as error:
                refused()
                if self._outages.gave_up is not None:  # it was broken off
                    raise self._outages.gave_up from None
                refusal = isinstance(error, StorageInternalError | SQLAlchemyError)
                if not refusal or not self._outages.passes(error):
                    raise
            else:
                self._outages.over()
                return done

    @property
    def _inside(self) -> bool:
        assert self._sessions is not None
        return self._sessions().held

    def _hold(self, session: Session) -> None:
        """Lock the study, and make memory and the roster what they should be."""
        lock(session, self._source)
        self._catch_up(session)
        back = [number for number in self._held if self._get_trial(number).state == TrialState.WAITING]
        if self.token and (back or self._clock() >= self._attendance.next_beat):
            self._attend(session)
        self._take_back(back)
        self._write_late()

    def _take_back(self, numbers: Sequence[int]) -> None:
        """Go on with trials that were given up for dead, but that nobody has taken yet."""
        late, self._late = self._late, []  # which is written when they are running again
        try:
            for number in numbers:
                self.set_trial_state_values(number, TrialState.RUNNING)
        finally:
            self._late = late
        self._remember_late()

    def _catch_up(self, session: Session) -> None:
        if self._torn:
            self._read()
            self._torn = False
            self._changed([trial.number for trial in self._all()])
            return
        last = self._ids[len(self._ids) - 1] if self._ids else -1
        known = {self._ids[one.number]: one for one in self._all() if not one.state.is_finished()}
        now = states(session, self._source, known, last)
        stale = {source for source, one in known.items() if now.get(source) != (one.state, _owner(one))}
        if stale or any(trial_id > last for trial_id in now):
            self._load(stale)

    def _load(self, stale: set[int]) -> None:
        """Read the trials that the database calls `stale`, and those that are new."""
        last = self._ids[len(self._ids) - 1] if self._ids else -1
        numbers = []
        for trial in self._database._get_trials(self._source, None, stale, last):
            source, number = trial._trial_id, trial.number
            if self._ids.get(number) == source:
                trial._trial_id = number
                self._set_trial(number, trial)
                self._update_cache(number, STUDY)
            elif number == len(self._ids):
                InMemoryStorage.create_new_trial(self, STUDY, trial)
                self._ids[number] = source
            else:
                raise CorruptStudyError("trials have been removed: their numbers are not in one row")
            numbers.append(number)
        self._changed(numbers)

    def _changed(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            if self._get_trial(number).state.is_finished() and number not in self._ended:
                if self.ended_here(number):
                    continue  # to be told of once more
                self._ended.add(number)
                self._news.append(number)
        self._remember_late()
        self._see([self._get_trial(number) for number in numbers])

    def _remember_late(self) -> None:
        for number, step, value in self._late:
            if self.owns(number):
                InMemoryStorage.set_trial_intermediate_value(self, number, step, value)

    def _attend(self, session: Session) -> None:
        """Give a sign of life, and send the trials of the dead back to the queue."""
        self._attendance.attend(session, self._clock())
        orphans = {
            self._ids[trial.number]
            for trial in self._all()
            if trial.state == TrialState.RUNNING
            and _owner(trial) not in self._attendance.others
            and not (self._is_mine(trial) and trial.number in self._held)
        }
        for source in orphans:
            self._database.set_trial_state_values(source, TrialState.WAITING)
        if orphans:
            session.expire_all()
            self._load(orphans)

    def owns(self, trial_id: int) -> bool:
        """See `WriteThroughStorage`."""
        trial = self._get_trial(trial_id)
        return trial_id in self._held and trial.state == TrialState.RUNNING and self._is_mine(trial)

    def ended_here(self, trial_id: int) -> bool:
        """See `WriteThroughStorage`."""
        trial = self._get_trial(trial_id)
        return trial_id in self._held and trial.state.is_finished() and self._is_mine(trial)

    @property
    def token(self) -> str:  # type: ignore[override]
        """See `WriteThroughStorage`."""
        return self._attendance.token

    def reclaim(self, trial_id: int, owner: str) -> bool:
        """See `WriteThroughStorage`."""

        def change() -> bool:
            trial = self._get_trial(trial_id)
            if trial.state.is_finished():
                return False
            if trial.state == TrialState.RUNNING and _owner(trial) == owner:
                self.set_trial_state_values(trial_id, TrialState.WAITING)
            return self.set_trial_state_values(trial_id, TrialState.RUNNING)

        return self.transact(change)

    def release(self, trial_id: int) -> None:
        """See `WriteThroughStorage`."""
        self._held.discard(trial_id)
        if self._get_trial(trial_id).state.is_finished() and trial_id not in self._news:
            self._ended.add(trial_id)

    @property
    def elsewhere(self) -> int:
        """See `WriteThroughStorage`."""
        return len(self._running_elsewhere())

    def has_silent_peers(self) -> bool:
        """Override. It is, until each of their coordinators has given a sign of life since."""
        return self._unheard(lambda: {_owner(trial) for trial in self._running_elsewhere()})

    def news(self) -> list[int]:
        """See `WriteThroughStorage`."""
        found, self._news = self._news, []
        return found

    @property
    def away(self) -> bool:
        """See `WriteThroughStorage`."""
        return self._outages.away

    def stop_retrying(self) -> None:
        """See `WriteThroughStorage`."""
        self._outages.stop_retrying()

    def hangs(self) -> bool:
        """See `WriteThroughStorage`."""
        return self._outages.hangs()

    @property
    def met_peers(self) -> bool:
        """See `WriteThroughStorage`."""
        return self._attendance.met_peers

    def others(self) -> list[tuple[str, str]]:
        """See `WriteThroughStorage`."""
        return sorted((one.name, one.about) for one in self._attendance.others.values())

    def follow(self, see: Callable[[Sequence[FrozenTrial]], None]) -> None:
        """See `WriteThroughStorage`."""
        super().follow(see)
        self._see = see

    def join(self, about: str, say: Callable[[str], None]) -> None:
        """See `WriteThroughStorage`."""
        self._attendance.me, self._outages.say = this_process(about), say
        self._attendance.next_beat = self._clock()
        self.transact(lambda: None)

    def leave(self, patient: bool = False) -> bool:
        """See `WriteThroughStorage`."""
        if not self.token:
            return True
        while patient and self._unheard(lambda: set(self._attendance.others)):
            self._pause(_LOOK_SECONDS)

        def go() -> bool:
            assert self._sessions is not None
            self._attend(self._sessions())
            self._attendance.leave(self._sessions())
            return not self._attendance.others

        last = self.transact(go)
        self._attendance.me = None
        return last

    def study_attributes(self) -> dict[str, Any]:
        """See `WriteThroughStorage`."""
        found = self._backend.get_study_user_attrs(self._source)
        for key, value in found.items():
            InMemoryStorage.set_study_user_attr(self, STUDY, key, value)
        return found

    def add_seconds(self, key: str, seconds: float) -> float:
        """See `WriteThroughStorage`. Time that several have worked at once counts once."""

        def add() -> float:
            assert self._sessions is not None
            known, now = self.study_attributes(), heartbeats.now(self._sessions())
            uncounted = min(seconds, now - float(known.get(_COUNTED, 0.0)))
            spent = float(known.get(key, 0.0)) + max(0.0, uncounted)
            self.set_study_user_attr(STUDY, key, round(spent, 3))
            self.set_study_user_attr(STUDY, _COUNTED, round(now, 3))
            return spent

        return self.transact(add)

    def write_late(self) -> None:
        """See `WriteThroughStorage`; others hear so that this coordinator is alive."""
        late = bool(self._late or self._late_attributes) and self._clock() >= self._late_until
        if late or (self.token and self._clock() >= self._attendance.next_beat):
            self.transact(lambda: None)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """See BaseStorage."""

        def create() -> int:
            number = super(SharedStorage, self).create_new_trial(study_id, template_trial)
            self._take(number)
            return number

        return self.transact(create)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """See BaseStorage."""

        def change() -> bool:
            changed = super(SharedStorage, self).set_trial_state_values(trial_id, state, values)
            if changed and state == TrialState.RUNNING:
                self._take(trial_id)
            elif changed:
                self._held.discard(trial_id)
                if state.is_finished():
                    self._ending.add(trial_id)
            return changed

        return self.transact(change)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """See BaseStorage."""
        self.transact(lambda: super(SharedStorage, self).set_study_user_attr(study_id, key, value))

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See BaseStorage; what a pruner notes after a validation is written with that."""
        if self._inside:
            super().set_trial_system_attr(trial_id, key, value)
        else:
            InMemoryStorage.set_trial_system_attr(self, trial_id, key, value)
            self._late_attributes.append((trial_id, key, value))

    def _all(self) -> list[FrozenTrial]:
        return self._studies[STUDY].trials

    def _running_elsewhere(self) -> list[FrozenTrial]:
        return [
            trial
            for trial in self._all()
            if trial.state == TrialState.RUNNING and trial.number not in self._held
        ]

    def _is_mine(self, trial: FrozenTrial) -> bool:
        return bool(self.token) and _owner(trial) == self.token

    def _take(self, number: int) -> None:
        if self.token:
            self.set_trial_system_attr(number, OWNER, self.token)
            self._held.add(number)
            self._attendance.works()

    def _unheard(self, tokens: Callable[[], set[Any]]) -> bool:
        """Whether one of them may be dead, after a look at them; or has changed with it: see what it left."""
        before = tokens()
        if not before:
            return False
        if self._clock() >= self._next_look:
            self._attendance.next_beat = self._clock()
            self.transact(lambda: None)
            self._next_look = self._clock() + _LOOK_SECONDS
        return tokens() != before or self._attendance.unheard(tokens())

    def _write_late(self) -> None:
        assert self._sessions is not None
        session = self._sessions()
        late = [(self._ids[number], step, value) for number, step, value in self._late if self.owns(number)]
        self._writing, self._late = self._writing + self._late, []
        if late:
            add_values(session, late)
        for number, key, value in self._late_attributes:
            if self.owns(number):
                self._database.set_trial_system_attr(self._ids[number], key, value)


def _owner(trial: FrozenTrial) -> Any:
    return trial.system_attrs.get(OWNER)
