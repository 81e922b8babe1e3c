"""Compares what a study's runs have reported with what its directory contains."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sasrecf_tune.errors import StorageError, StudyNotFoundError
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.search.open_study import load_study
from sasrecf_tune.storage.database.errors import CorruptStudyError
from sasrecf_tune.storage.database.open import open_storage
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.trials import LISTED, TrialRecord


@dataclass(frozen=True)
class Reference:
    """A finished study: trials by number, names of its files without logs, text of its results."""

    records: Mapping[int, TrialRecord]
    files: frozenset[str]
    results: Mapping[str, str]


@dataclass
class LossAudit:
    """The audit of one study; `lost` and `repeated` are numbers of trials, `faults` are all other errors."""

    study_dir: StudyDirectory
    space: SearchSpace
    lost: set[int] = field(default_factory=set)
    repeated: set[int] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    _params: dict[int, Any] = field(default_factory=dict)
    _ended: dict[int, dict[str, Any]] = field(default_factory=dict)
    _paused: dict[int, int] = field(default_factory=dict)  # the epochs of trials that were paused

    def record_events(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Record what a run reported.

        A trial that has ended must stay so. One that was paused may go on, but not train its epochs again.
        """
        ended_before = set(self._ended)
        for event in events:
            if event["event"] == "started":
                number = int(event["trial"])
                if number in ended_before:
                    self.repeated.add(number)
                if self._params.setdefault(number, event["params"]) != event["params"]:
                    self.lost.add(number)
                    self.faults.append(f"trial {number} started with other parameters than before")
            elif event["event"] == "paused":
                self._paused[int(event["trial"])] = int(event["epochs"])
            elif event["event"] == "reported":
                if int(event["epoch"]) <= self._paused.get(int(event["trial"]), 0):
                    self.repeated.add(int(event["trial"]))
            elif event["event"] == "ended":
                number = int(event["trial"])
                if number in self._ended:
                    self.repeated.add(number)
                self._ended[number] = {key: event[key] for key in ("state", "score", "epochs")}

    def check(self) -> None:
        """Check that the directory, as a kill left it, has all that was reported."""
        try:
            records = read(self.study_dir, self.space)
            rows = _rows(self.study_dir)
            if self.study_dir.manifest.exists():
                json.loads(self.study_dir.manifest.read_text())
        except (StorageError, CorruptStudyError, ValueError, LookupError) as error:
            self.faults.append(f"unreadable after a kill: {' '.join(str(error).split())}")
            return
        for number, epochs in self._paused.items():
            if number not in records or records[number].epochs < epochs:
                self.lost.add(number)
        for number, reported in self._ended.items():
            record = records.get(number)
            if record is None or reported != {
                "state": record.state,
                "score": record.score,
                "epochs": record.epochs,
            }:
                self.lost.add(number)
            if rows.count(number) != 1:
                self.faults.append(f"trials.csv has trial {number} {rows.count(number)} times")

    def compare(self, reference: Reference) -> int:
        """Compare the finished study with the reference; returns how many of its trials have results."""
        self.check()
        reached = read_reference(self.study_dir, self.space)
        for number, record in reference.records.items():
            if number not in reached.records or outcome(reached.records[number]) != outcome(record):
                self.lost.add(number)
        cells: dict[str, int] = {}
        for number, record in reached.records.items():
            cell = json.dumps(record.params, sort_keys=True)
            if cells.setdefault(cell, number) != number or number not in reference.records:
                self.repeated.add(number)
        for name in sorted(reached.files ^ reference.files):
            self.faults.append(f"{'left over' if name in reached.files else 'missing'}: {name}")
        self.faults += [
            f"differs from the search without kills: {name}"
            for name, text in reference.results.items()
            if reached.results.get(name) != text
        ]
        return sum(record.state in LISTED for record in reached.records.values())


def read_reference(study_dir: StudyDirectory, space: SearchSpace) -> Reference:
    """Read a finished study."""
    files = [
        path.relative_to(study_dir.directory)
        for path in study_dir.directory.rglob("*")
        if path.is_file() and path.parent != study_dir.log(0).parent
    ]
    # Only files without times.
    results = {
        path.name: path.read_text() for path in (study_dir.best, study_dir.hyper_result) if path.exists()
    }
    results[study_dir.database.name] = _database_outline(study_dir)
    return Reference(read(study_dir, space), frozenset(map(str, files)), results)


def read(study_dir: StudyDirectory, space: SearchSpace) -> dict[int, TrialRecord]:
    """Return the trials by number, read from a copy: opening a database may repair it, which the run must do.

    Raises:
        StorageError: the database cannot be read.
    """
    with tempfile.TemporaryDirectory() as scratch:
        copy = StudyDirectory(Path(scratch) / study_dir.name)
        copy.directory.mkdir()
        for path in study_dir.directory.iterdir() if study_dir.directory.exists() else ():
            if path.is_file():
                shutil.copy(path, copy.directory)
        storage = open_storage(copy, None)
        try:
            return {record.number: record for record in load_study(copy, storage, space).records()}
        except StudyNotFoundError:
            return {}
        finally:
            storage.engine.dispose()


def _database_outline(study_dir: StudyDirectory) -> str:
    """Return what a database has besides trials: tables, indexes and Optuna's attributes."""
    with closing(sqlite3.connect(study_dir.database)) as connection:
        rows = connection.execute(
            "SELECT type, name FROM sqlite_master UNION ALL "
            "SELECT key, value_json FROM study_system_attributes ORDER BY 1, 2"
        )
        return "\n".join(map(" ".join, rows))


def _rows(study_dir: StudyDirectory) -> list[int]:
    """Return the numbers in trials.csv; raises ValueError if a row is cut off."""
    if not study_dir.trials.exists():
        return []
    header, *rows = csv.reader(study_dir.trials.read_text().splitlines())
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"trials.csv has a row of {len(row)} cells below {len(header)}")
    return [int(row[0]) for row in rows]


def outcome(record: TrialRecord) -> tuple[object, ...]:
    """Return what must be equal with and without kills: all but times and failed attempts."""
    return (
        record.state,
        record.params,
        record.seed,
        record.score,
        record.epochs,
        record.best_epoch,
        record.valid,
    )
