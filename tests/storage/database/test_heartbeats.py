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


def read(monkeypatch: pytest.MonkeyPatch, line: str) -> list[str]:
    monkeypatch.setattr(heartbeats, "database_time", lambda _: 0.0)
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
