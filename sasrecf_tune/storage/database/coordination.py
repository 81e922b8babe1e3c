"""What a coordinator has to do with the other coordinators of its study."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.orm import Session
from typing_extensions import override

from sasrecf_tune.storage.database.cached_storage import WriteThroughStorage
from sasrecf_tune.storage.database.errors import CorruptStudyError
from sasrecf_tune.storage.database.heartbeats import Heartbeat, database_time, this_process
from sasrecf_tune.storage.database.optuna_internals import STUDY_ID
from sasrecf_tune.storage.database.ownership import owner_of
from sasrecf_tune.storage.database.reconnect import ReconnectPolicy
from sasrecf_tune.storage.database.shared_storage import SharedStorage

# Attribute of the study: up to when, on the database's clock, its working time has been counted.
_COUNTED = "sasrecf_tune:counted_until"
# How often a coordinator without anything to do looks at the others.
_LOOK_SECONDS = 1.0

TrialsCallback = Callable[[Sequence[FrozenTrial]], None]


class Coordination(Protocol):
    """One coordinator among those of its study. Trials are given by number."""

    reconnect: ReconnectPolicy

    @property
    def shared(self) -> bool:
        """Whether others may work on the study at the same time."""

    @property
    def token(self) -> str:
        """Identifies this coordinator as the owner of trials; "" where it needs no identification."""

    @property
    def met_peers(self) -> bool:
        """Whether others have worked on the study since this coordinator joined."""

    def join(self, description: str, say: Callable[[str], None]) -> None:
        """Begin to ask for trials; running ones without a live coordinator go back to the queue.

        Args:
            description: how trials are searched, for the others.
            say: tells people of trouble with the database.
        """

    def leave(self, wait_for_silent: bool = False) -> bool:
        """Ask for no more trials; returns whether nobody else works on the study now.

        With `wait_for_silent`, find out first whether silent peers are alive.
        """

    def list_peers(self) -> list[tuple[str, str]]:
        """Names and descriptions of the other coordinators at work now."""

    def is_at_work(self, token: object) -> bool:
        """Whether the coordinator `token` is another one, and at work now."""

    def claim(self, key: str) -> bool:
        """Whether this coordinator does what one has to do for all: it is the first of those at work to ask.

        Args:
            key: The study's attribute that says which one does it.
        """

    def has_silent_peers(self) -> bool:
        """Whether the coordinator of a running trial may be dead; for a coordinator that is idle.

        It may, until it has given a sign of life since this one became idle.
        """

    def beat_if_due(self) -> None:
        """Give a sign of life, if it is time for one."""

    def watch_trials(self, callback: TrialsCallback) -> None:
        """Call `callback` with all trials now, and later with those that others have added or changed."""

    def count_elsewhere(self) -> int:
        """How many trials other coordinators train."""

    def take_finished_by_peers(self) -> list[int]:
        """The trials that others have finished since the last call."""

    def owns(self, number: int) -> bool:
        """Whether the running trial is this coordinator's to end."""

    def ended_here(self, number: int) -> bool:
        """Whether this coordinator ended the trial, in a transaction whose commit was not confirmed."""

    def reclaim(self, number: int, owner: str) -> bool:
        """Take over an interrupted trial that `owner`, an earlier run, was training."""

    def release(self, number: int) -> None:
        """Stop training the trial, which may be another coordinator's by now."""

    def add_seconds(self, key: str, seconds: float) -> float:
        """Add to the working time that is the study's attribute `key`; returns the sum."""


class SingleCoordinator(Coordination):
    """The only coordinator of its study: the caller holds the study exclusively."""

    shared = met_peers = False
    token = ""

    def __init__(self, storage: WriteThroughStorage) -> None:
        self.reconnect = ReconnectPolicy()  # never in use: a local database is not waited for
        self._storage = storage

    @override
    def join(self, description: str, say: Callable[[str], None]) -> None:
        with self._storage.transaction():  # thousands of trials, if as many workers were at work
            for trial in self._storage.get_all_trials(STUDY_ID, deepcopy=False, states=(TrialState.RUNNING,)):
                self._storage.set_trial_state_values(trial.number, TrialState.WAITING)

    @override
    def leave(self, wait_for_silent: bool = False) -> bool:
        return True

    @override
    def list_peers(self) -> list[tuple[str, str]]:
        return []

    @override
    def is_at_work(self, token: object) -> bool:
        return False

    @override
    def claim(self, key: str) -> bool:
        return True

    @override
    def has_silent_peers(self) -> bool:
        return False

    @override
    def beat_if_due(self) -> None:
        pass

    @override
    def watch_trials(self, callback: TrialsCallback) -> None:
        callback(self._storage.get_all_trials(STUDY_ID, deepcopy=False))

    @override
    def count_elsewhere(self) -> int:
        return 0

    @override
    def take_finished_by_peers(self) -> list[int]:
        return []

    @override
    def owns(self, number: int) -> bool:
        return True

    @override
    def ended_here(self, number: int) -> bool:
        return False

    @override
    def reclaim(self, number: int, owner: str) -> bool:
        return False

    @override
    def release(self, number: int) -> None:
        pass

    @override
    def add_seconds(self, key: str, seconds: float) -> float:
        spent = _number(self._storage.get_study_user_attrs(STUDY_ID), key) + seconds
        self._storage.set_study_user_attr(STUDY_ID, key, round(spent, 3))
        return spent


class DatabaseCoordination(Coordination):
    """One of several coordinators, who know of each other by what is in the database."""

    shared = True

    def __init__(self, storage: SharedStorage) -> None:
        self.reconnect = storage.reconnect
        self._storage = storage
        self._ownership = storage.ownership
        self._heartbeat = Heartbeat(storage.backend_study_id)
        self._next_look = 0.0
        storage.on_lock = self._check_peers

    @property
    @override
    def token(self) -> str:
        return self._ownership.token

    @property
    @override
    def met_peers(self) -> bool:
        return self._heartbeat.met_peers

    @override
    def join(self, description: str, say: Callable[[str], None]) -> None:
        self._heartbeat.me, self.reconnect.say = this_process(description), say
        self._ownership.token = self._heartbeat.me.token
        self._heartbeat.next_beat = self._storage.clock()
        self.beat_if_due()

    @override
    def leave(self, wait_for_silent: bool = False) -> bool:
        if not self.token:
            return True
        while wait_for_silent and self._has_silent(lambda: set(self._heartbeat.peers)):
            time.sleep(_LOOK_SECONDS)

        def change() -> bool:
            self._beat(self._storage.session)
            self._heartbeat.leave(self._storage.session)
            return not self._heartbeat.peers

        is_last = self._storage.transact(change)
        self._heartbeat.me, self._ownership.token = None, ""
        return is_last

    @override
    def list_peers(self) -> list[tuple[str, str]]:
        return sorted((peer.name, peer.about) for peer in self._heartbeat.peers.values())

    @override
    def is_at_work(self, token: object) -> bool:
        return token in self._heartbeat.peers

    @override
    def claim(self, key: str) -> bool:
        def change() -> bool:
            self._beat(self._storage.session)  # which tells who is at work now
            known = self._storage.read_study_attributes().get(key)
            if isinstance(known, str) and self.is_at_work(known):
                return False
            self._storage.set_study_user_attr(STUDY_ID, key, self.token)
            return True

        return self._storage.transact(change)

    @override
    def has_silent_peers(self) -> bool:
        return self._has_silent(lambda: {owner_of(trial) for trial in self._running_elsewhere()})

    @override
    def beat_if_due(self) -> None:
        if self.token and self._storage.clock() >= self._heartbeat.next_beat:
            self._storage.transact(lambda: None)

    @override
    def watch_trials(self, callback: TrialsCallback) -> None:
        callback(self._storage.get_all_trials(STUDY_ID, deepcopy=False))
        self._storage.on_change = callback

    @override
    def count_elsewhere(self) -> int:
        return len(self._running_elsewhere())

    @override
    def take_finished_by_peers(self) -> list[int]:
        return self._ownership.take_finished_by_peers()

    @override
    def owns(self, number: int) -> bool:
        return self._ownership.owns(self._storage.get_trial(number))

    @override
    def ended_here(self, number: int) -> bool:
        return self._ownership.ended_here(self._storage.get_trial(number))

    @override
    def reclaim(self, number: int, owner: str) -> bool:
        def change() -> bool:
            trial = self._storage.get_trial(number)
            if trial.state.is_finished():
                return False
            if trial.state == TrialState.RUNNING and owner_of(trial) == owner:
                self._storage.set_trial_state_values(number, TrialState.WAITING)
            return self._storage.set_trial_state_values(number, TrialState.RUNNING)

        return self._storage.transact(change)

    @override
    def release(self, number: int) -> None:
        self._ownership.release(self._storage.get_trial(number))

    @override
    def add_seconds(self, key: str, seconds: float) -> float:
        # Time that several have worked at once counts once.
        def add() -> float:
            known, now = self._storage.read_study_attributes(), database_time(self._storage.session)
            uncounted = min(seconds, now - _number(known, _COUNTED))
            spent = _number(known, key) + max(0.0, uncounted)
            self._storage.set_study_user_attr(STUDY_ID, key, round(spent, 3))
            self._storage.set_study_user_attr(STUDY_ID, _COUNTED, round(now, 3))
            return spent

        return self._storage.transact(add)

    def _check_peers(self, session: Session) -> None:
        """Give a sign of life, and take up own trials that were given up for dead."""
        trials = self._storage.trials()
        waiting = [
            number
            for number in self._ownership.held
            if trials[number].state == TrialState.WAITING and self._ownership.is_mine(trials[number])
        ]
        if self.token and (waiting or self._storage.clock() >= self._heartbeat.next_beat):
            self._beat(session)
        self._storage.resume_waiting(waiting)

    def _beat(self, session: Session) -> None:
        """Give a sign of life, and send the trials of dead coordinators back to the queue."""
        self._heartbeat.beat(session, self._storage.clock())
        self._storage.requeue(
            [
                trial.number
                for trial in self._storage.trials()
                if trial.state == TrialState.RUNNING
                and owner_of(trial) not in self._heartbeat.peers
                and not self._ownership.owns(trial)
            ]
        )

    def _running_elsewhere(self) -> list[FrozenTrial]:
        return [
            trial
            for trial in self._storage.trials()
            if trial.state == TrialState.RUNNING and trial.number not in self._ownership.held
        ]

    def _has_silent(self, tokens: Callable[[], set[Any]]) -> bool:
        """Whether one of the coordinators `tokens` may be dead.

        Also when they have changed with this look at them: what was left behind may be something to do.
        """
        before = tokens()
        if not before:
            return False
        if self._storage.clock() >= self._next_look:
            self._heartbeat.next_beat = self._storage.clock()
            self._storage.transact(lambda: None)
            self._next_look = self._storage.clock() + _LOOK_SECONDS
        if tokens() != before:
            return True
        self._ownership.idle_since = self._ownership.idle_since or self._heartbeat.time
        return self._heartbeat.any_silent(before, self._ownership.idle_since)


def _number(attributes: Mapping[str, Any], key: str) -> float:
    value = attributes.get(key, 0.0)
    if not isinstance(value, int | float) or not 0 <= value < 1e15:
        raise CorruptStudyError(f"{key} is {str(value)[:80]!r}")
    return float(value)


def open_coordinated(storage: BaseStorage, name: str) -> tuple[WriteThroughStorage, Coordination]:
    """Open the study `name` to work on it: several coordinators can if it is on a server.

    Raises:
        KeyError: the database has no study called `name`.
        CorruptStudyError: the study is corrupt.
    """
    if isinstance(storage, RDBStorage) and storage.engine.dialect.name != "sqlite":
        shared = SharedStorage(storage, name)
        return shared, DatabaseCoordination(shared)
    alone = WriteThroughStorage(storage, name)
    return alone, SingleCoordinator(alone)
