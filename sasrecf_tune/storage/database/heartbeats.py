"""Which coordinators work on a study in a server's database, by the heartbeats that they write there.

Each keeps one line among the study's system attributes, with the time of its last heartbeat on the
database's clock: machines need not agree on the time. Optuna's own heartbeats (RDBStorage.record_heartbeat)
are of trials, with four statements each, where one for all of them is enough.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import psutil
from sqlalchemy import delete, extract, func, insert, select, text, update
from sqlalchemy.orm import Session

from sasrecf_tune.environment import host_name, process_name
from sasrecf_tune.storage.database.errors import CorruptStudyError
from sasrecf_tune.storage.database.optuna_internals import StudyAttribute

BEAT_SECONDS = 5.0
# A coordinator that has been silent for so long is considered dead.
SILENT_SECONDS = 120.0

_PREFIX = "sasrecf_tune:coordinator:"


@dataclass(frozen=True)
class Peer:
    """One process that asks for trials, as it is stored.

    `place` identifies the machine and container in which `pid` is valid. `begun` is when the process was
    started, in whatever unit the system has; `about` describes how it searches; `beat` is the time of its
    last heartbeat.
    """

    name: str
    place: str
    pid: int
    begun: str
    about: str = ""
    beat: float = 0.0
    token: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    @property
    def has_exited(self) -> bool:
        """Whether it was a process of this machine that has ended: no need to wait for its silence."""
        return bool(self.place) and self.place == _machine_id() and _start_time(self.pid) != self.begun


def this_process(about: str = "") -> Peer:
    """This process, as a coordinator that has not been at work before."""
    return Peer(process_name(), _machine_id(), os.getpid(), _start_time(os.getpid()), about)


class Heartbeat:
    """This process among the coordinators of a study: it gives signs of life, and finds the dead.

    `me` is None until it has joined. Methods that take a session belong inside a transaction that locks the
    study.
    """

    def __init__(self, study_id: int) -> None:
        self.me: Peer | None = None
        self.peers: dict[str, Peer] = {}  # by token
        self.met_peers = False
        self.next_beat = 0.0  # on the caller's clock
        self.time = 0.0  # of the last beat, on the database's clock
        self._study = study_id
        self._connected_since = 0.0

    def beat(self, session: Session, now: float) -> None:
        """Give a sign of life, read those of the others, and remove the dead; `now` is the caller's time."""
        assert self.me is not None
        everyone, time = _read(session, self._study), database_time(session)
        mine = everyone.pop(self.me.token, None)
        last = mine.beat if mine is not None else self.time
        # In the second case the database's clock was set back.
        if self.time and not -SILENT_SECONDS <= time - last <= 0.5 * SILENT_SECONDS:
            self._connected_since = time
        self.peers = living(everyone, time, self._connected_since)
        for token in everyone.keys() - self.peers.keys():
            self._delete(session, token)
        self._write(session, replace(self.me, beat=time))
        self.time = time
        self.met_peers = self.met_peers or bool(self.peers)
        self.next_beat = now + BEAT_SECONDS

    def leave(self, session: Session) -> None:
        """Remove this coordinator."""
        assert self.me is not None
        self._delete(session, self.me.token)

    def any_silent(self, tokens: Iterable[str | None], since: float) -> bool:
        """Whether one of these coordinators has given no sign of life since then."""
        beats = [self.peers[token].beat if token in self.peers else 0.0 for token in tokens if token]
        return any(beat <= since for beat in beats)

    def _write(self, session: Session, peer: Peer) -> None:
        line = json.dumps(asdict(peer))
        change = update(StudyAttribute).where(*self._row(peer.token)).values(value_json=line)
        written: Any = session.execute(change)
        if not written.rowcount:
            row = {"study_id": self._study, "key": _PREFIX + peer.token, "value_json": line}
            session.execute(insert(StudyAttribute).values(row))

    def _delete(self, session: Session, token: str) -> None:
        session.execute(delete(StudyAttribute).where(*self._row(token)))

    def _row(self, token: str) -> tuple[Any, ...]:
        return StudyAttribute.study_id == self._study, StudyAttribute.key == _PREFIX + token


def living_peers(session: Session, study_id: int) -> list[str]:
    """The names of the coordinators that are not known to be dead."""
    found = living(_read(session, study_id), database_time(session), 0.0)
    return sorted(peer.name for peer in found.values())


def _read(session: Session, study_id: int) -> dict[str, Peer]:
    is_ours = StudyAttribute.study_id == study_id
    is_peer = StudyAttribute.key.startswith(_PREFIX, autoescape=True)
    lines = session.execute(select(StudyAttribute.value_json).where(is_ours, is_peer)).scalars()
    try:
        found = [msgspec.json.decode(line, type=Peer) for line in lines]
    except (msgspec.DecodeError, UnicodeError) as error:
        raise CorruptStudyError("the entry of another run cannot be read") from error
    return {peer.token: peer for peer in found}


def database_time(session: Session) -> float:
    """The database's clock at this moment, in seconds; it goes on within a transaction."""
    if session.get_bind().dialect.name == "postgresql":
        return float(session.execute(select(extract("epoch", func.clock_timestamp()))).scalar_one())
    return float(session.execute(select(func.unix_timestamp(text("sysdate(6)")))).scalar_one())


def living(everyone: Mapping[str, Peer], now: float, connected_since: float) -> dict[str, Peer]:
    """The coordinators of `everyone` that are not known to be dead.

    A silent one is dead only if it could have been heard: it could not while the database was down, or while
    the coordinator that asks was itself cut off from it, until `connected_since`. A beat in the future is not
    one of a living coordinator: it would hold for ever.
    """

    def heard(peer: Peer) -> float:
        return peer.beat if peer.beat <= now + SILENT_SECONDS else 0.0

    return {
        token: peer
        for token, peer in everyone.items()
        if not peer.has_exited and max(heard(peer), connected_since) >= now - SILENT_SECONDS
    }


def _machine_id() -> str:
    """Identifies this boot of this machine and this container; "" where the system does not say."""
    with contextlib.suppress(OSError):
        if sys.platform != "linux":  # which has no containers in which other processes have the same IDs
            return f"{host_name()} {uuid.getnode()} {psutil.boot_time():.0f}"
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return ""


def _start_time(pid: int) -> str:
    """When process `pid` was started; "" if it has ended.

    On Linux in clock ticks since the boot (proc_pid_stat(5)), which do not change when the clock is set.
    """
    with contextlib.suppress(OSError, psutil.Error):
        if sys.platform != "linux":
            process = psutil.Process(pid)
            return "" if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.3f}"
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state in "ZX" else rest[18]
    return ""
