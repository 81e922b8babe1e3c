"""Which coordinators work on a study in a server's database, by what each says of itself there.

Each keeps one line among the study's system attributes, with the time of its last sign of life on the
database's clock: machines need not agree on the time. Optuna's own heartbeats (RDBStorage.record_heartbeat)
are of trials: four statements each, where one for all of them will do.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from optuna.storages._rdb import models
from sqlalchemy import delete, extract, func, insert, select, text, update
from sqlalchemy.orm import Session

from sasrecf_tune.environment import process_name

BEAT_SECONDS = 5.0
# Whoever has been silent for so long is taken for dead.
SILENT_SECONDS = 120.0

_PREFIX = "sasrecf_tune:coordinator:"
_Attribute: Any = models.StudySystemAttributeModel


@dataclass(frozen=True)
class Peer:
    """One process that asks for trials. `place` says where the number `pid` means something.

    `begun` is when the process began, in whatever unit the system has; `about` how it searches; `beat` when
    it last gave a sign of life.
    """

    name: str
    place: str
    pid: int
    begun: str
    about: str = ""
    beat: float = 0.0
    token: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    @property
    def gone(self) -> bool:
        """Whether it was a process of this machine, which has ended: that needs no waiting."""
        return bool(self.place) and self.place == _place() and _begun(self.pid) != self.begun


def this_process(about: str = "") -> Peer:
    """This process, as a coordinator that has not been at work before."""
    return Peer(process_name(), _place(), os.getpid(), _begun(os.getpid()), about)


class HeartbeatTable:
    """The coordinators of the study `study_id`; to be used inside a transaction that holds the study."""

    def __init__(self, study_id: int) -> None:
        self._study = study_id

    def read(self, session: Session) -> tuple[dict[str, Peer], float]:
        """All by token, and the database's time, in seconds."""
        lines = session.execute(
            select(_Attribute.value_json).where(
                _Attribute.study_id == self._study, _Attribute.key.startswith(_PREFIX, autoescape=True)
            )
        ).scalars()
        found = [Peer(**json.loads(line)) for line in lines]
        return {one.token: one for one in found}, now(session)

    def beat(self, session: Session, who: Peer, when: float) -> None:
        """Write down that `who` is alive."""
        where = (_Attribute.study_id == self._study, _Attribute.key == _PREFIX + who.token)
        line = json.dumps(asdict(replace(who, beat=when)))
        written: Any = session.execute(update(_Attribute).where(*where).values(value_json=line))
        if not written.rowcount:
            session.execute(
                insert(_Attribute).values(study_id=self._study, key=_PREFIX + who.token, value_json=line)
            )

    def strike(self, session: Session, token: str) -> None:
        """Take one out, who has left or is dead."""
        session.execute(
            delete(_Attribute).where(_Attribute.study_id == self._study, _Attribute.key == _PREFIX + token)
        )


class Heartbeat:
    """This process among the coordinators of a study: it gives signs of life, and finds the dead.

    `me` is None until it has joined. Methods that take a session belong inside a transaction that holds the
    study.
    """

    def __init__(self, study_id: int) -> None:
        self.me: Peer | None = None
        self.others: dict[str, Peer] = {}
        self.met_peers = False
        self.next_beat = 0.0  # on the caller's clock
        self._roster = HeartbeatTable(study_id)
        self._time = 0.0  # the database's, when the others were last looked at
        self._listening_since = 0.0
        self._idle_since = 0.0

    @property
    def token(self) -> str:
        """Of this coordinator, "" where it has not joined."""
        return self.me.token if self.me is not None else ""

    def attend(self, session: Session, when: float) -> None:
        """Give a sign of life, look at the others, and take out the dead; `when` is the caller's time."""
        assert self.me is not None
        everyone, time = self._roster.read(session)
        mine = everyone.pop(self.me.token, None)
        heard = mine.beat if mine is not None else self._time
        if self._time and time - heard > 0.5 * SILENT_SECONDS:
            self._listening_since = time
        self.others = living(everyone, time, self._listening_since)
        for token in everyone.keys() - self.others.keys():
            self._roster.strike(session, token)
        self._roster.beat(session, self.me, time)
        self._time = time
        self.met_peers = self.met_peers or bool(self.others)
        self.next_beat = when + BEAT_SECONDS

    def leave(self, session: Session) -> None:
        """Take this coordinator out."""
        self._roster.strike(session, self.token)

    def works(self) -> None:
        """This coordinator has something to do."""
        self._idle_since = 0.0

    def unheard(self, tokens: Iterable[str | None]) -> bool:
        """Whether one of them has given no sign of life since this coordinator has had nothing to do."""
        self._idle_since = self._idle_since or self._time
        beats = [self.others[token].beat if token in self.others else 0.0 for token in tokens if token]
        return any(beat <= self._idle_since for beat in beats)


def now(session: Session) -> float:
    """The database's clock at this moment, in seconds; within a transaction it goes on."""
    if session.get_bind().dialect.name == "postgresql":
        return float(session.execute(select(extract("epoch", func.clock_timestamp()))).scalar_one())
    return float(session.execute(select(func.unix_timestamp(text("sysdate(6)")))).scalar_one())


def living(everyone: Mapping[str, Peer], when: float, listening_since: float) -> dict[str, Peer]:
    """Those of `everyone` that are not known to be dead.

    One that has been silent for long is, if it could have been heard: who listens was itself cut off from
    the database until `listening_since`, or that was down, and then nobody could.
    """
    return {
        token: one
        for token, one in everyone.items()
        if not one.gone and max(one.beat, listening_since) >= when - SILENT_SECONDS
    }


def _place() -> str:
    """This boot of this machine and this container; "" where the system does not say."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return ""


def _begun(pid: int) -> str:
    """When process `pid` began, in clock ticks since the boot (proc_pid_stat(5)); "" when there is none."""
    with contextlib.suppress(OSError):
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state in "ZX" else rest[18]
    return ""
