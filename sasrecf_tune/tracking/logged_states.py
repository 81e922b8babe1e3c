"""Remembers which states of which trials each tracker has, so that a resumed study does not send them again.

Losing the file costs time only: trackers do not write twice what they have.
"""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path
from typing import TypedDict

import msgspec

from sasrecf_tune.storage.files import append_line, read_own
from sasrecf_tune.tracking.run_logs import TrialLog


class _Line(TypedDict):
    tracker: str
    place: str
    trial: int
    state: str
    epoch: int


class LoggedStates:
    """What the lines of a file say; every run of a study adds lines to it.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[tuple[str, str, int], tuple[str, int]] = {}
        self._lock = threading.Lock()
        lines: list[str] = []
        with contextlib.suppress(OSError, UnicodeError):
            lines = read_own(path).splitlines()
        for line in lines:
            # A killed run may have left half a line.
            with contextlib.suppress(ValueError, RecursionError, msgspec.ValidationError):
                found = msgspec.convert(json.loads(line), _Line)
                key = found["tracker"], found["place"], found["trial"]
                self._known[key] = found["state"], found["epoch"]

    def has(self, tracker: str, place: str, log: TrialLog) -> bool:
        """Whether the tracker has this state of the trial."""
        return self._known.get((tracker, place, log.number)) == (str(log.state), log.last_epoch)

    def add(self, tracker: str, place: str, log: TrialLog) -> None:
        """Note that the tracker has this state of the trial.

        Raises:
            StorageError: The file cannot be written.
        """
        with self._lock:
            if self.has(tracker, place, log):
                return
            self._known[tracker, place, log.number] = str(log.state), log.last_epoch
            line = _Line(
                tracker=tracker, place=place, trial=log.number, state=str(log.state), epoch=log.last_epoch
            )
            append_line(self._path, json.dumps(line) + "\n")
