"""Entries of other runs in a shared database, to which others may write."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
from sqlalchemy import create_engine, insert
from sqlalchemy.orm import Session

from sasrecf_tune.storage.database import heartbeats
from sasrecf_tune.storage.database.errors import CorruptStudyError
from sasrecf_tune.storage.database.optuna_internals import TABLES, StudyAttribute

ENTRY = asdict(heartbeats.this_process("grid"))


def read(monkeypatch: pytest.MonkeyPatch, line: str, now: float = 0.0) -> list[str]:
    monkeypatch.setattr(heartbeats, "database_time", lambda _: now)
    engine = create_engine("sqlite://")
    TABLES["studies"].metadata.create_all(engine)
    row: dict[str, Any] = {"study_id": 1, "key": f"{heartbeats._PREFIX}x", "value_json": line}
    with Session(engine) as session:
        session.execute(insert(StudyAttribute).values(row))
        return heartbeats.living_peers(session, 1)


def test_an_entry_of_a_later_version_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, json.dumps(ENTRY | {"later": 1})) == [ENTRY["name"]]


ODD: list[dict[str, Any]] = [{"pid": "x"}, {"beat": "x"}, {"token": []}]


@pytest.mark.parametrize("line", ["5", "[", "{}", *(json.dumps(ENTRY | odd) for odd in ODD)])
def test_an_entry_that_no_run_writes_is_corruption(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    with pytest.raises(CorruptStudyError, match="entry of another run"):
        read(monkeypatch, line)


@pytest.mark.parametrize(("beat", "lives"), [(-119.0, True), (-121.0, False), (119.0, True), (1e300, False)])
def test_a_beat_is_a_sign_of_life_for_some_time_only(
    monkeypatch: pytest.MonkeyPatch, beat: float, lives: bool
) -> None:
    line = json.dumps(ENTRY | {"beat": 1e9 + beat})
    assert read(monkeypatch, line, now=1e9) == [ENTRY["name"]] * lives


def test_nobody_is_dead_because_the_clock_of_the_database_was_set_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1e9
    monkeypatch.setattr(heartbeats, "database_time", lambda _: now)
    engine = create_engine("sqlite://")
    TABLES["studies"].metadata.create_all(engine)
    run, other = heartbeats.Heartbeat(1), heartbeats.Heartbeat(1)
    with Session(engine) as session:
        for one in (run, other):
            one.me = heartbeats.this_process()
            one.beat(session, 0.0)
        now -= 5_000.0
        for one in (run, other, run):
            one.beat(session, 0.0)
            assert len(one.peers) == 1
        # One that has no beat any more is dead soon, not when the clock has caught up.
        for _ in range(3):
            now += 50.0
            run.beat(session, 0.0)
        assert not run.peers
