"""Results that could not be written to the database, kept in the study directory until they can."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypedDict

import msgspec

from sasrecf_tune.errors import StorageError
from sasrecf_tune.messages import Decision, Failure, Report, Result
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.files import atomic_write, read_own, remove
from sasrecf_tune.storage.manifest_schema import UNREADABLE, value_text

# More than any trial has.
_MOST_EPOCHS = 10**7


class _Owned(TypedDict):
    owner: str


class PendingResult:
    """The result of one trial, as long as it may not be in the database.

    `owner` is the token of the coordinator that trained it. It is "" for the only coordinator of a study, who
    keeps nothing: the trial is trained again.
    """

    def __init__(self, study_dir: StudyDirectory, outcome: Result | Failure, owner: str) -> None:
        self._path = study_dir.pending_result(outcome.number)
        self._outcome = outcome
        self._owner = owner
        self._kept = False

    def keep(self) -> None:
        """Write the file, unless it is there already, or cannot be written either."""
        if self._owner and not self._kept and isinstance(self._outcome, Result):
            outcome = self._outcome
            content = asdict(outcome) | {"decision": outcome.decision.value, "owner": self._owner}
            with contextlib.suppress(StorageError):
                atomic_write(self._path, json.dumps(content) + "\n")
                self._kept = True

    def drop(self) -> None:
        """Remove the file: the result is in the database, or not needed."""
        if self._owner:
            remove([self._path])


class DrainHandler:
    """Handler of an executor when the database is lost: keeps results that arrive, and stops the rest."""

    def __init__(self, study_dir: StudyDirectory, owner: str) -> None:
        self.heard = 0  # reports and outcomes
        self.kept: set[int] = set()
        self._study_dir = study_dir
        self._owner = owner

    def on_report(self, report: Report) -> Decision:
        """Stop the trial."""
        self.heard += 1
        return Decision.STOP

    def on_outcome(self, outcome: Result | Failure) -> None:
        """Keep the result of a trial that has ended; one that was paused goes on from its checkpoint."""
        self.heard += 1
        if isinstance(outcome, Result) and outcome.decision not in (Decision.STOP, Decision.PAUSE):
            PendingResult(self._study_dir, outcome, self._owner).keep()
            self.kept.add(outcome.number)


def replay_pending(
    study_dir: StudyDirectory, record: Callable[[int, Result, str], bool | None], say: Callable[[str], None]
) -> None:
    """Record the results that were kept, and remove their files.

    Args:
        study_dir: where they are.
        record: takes number, result and owner of a trial; returns whether the result was needed, or None if
            that is not known yet, and the file stays.
        say: tells people which results were recorded.

    Raises:
        StorageError: a file cannot be read.
    """
    for path in study_dir.pending_results():
        try:
            content = json.loads(read_own(path))
            owner = msgspec.convert(content, _Owned)["owner"]
            outcome = msgspec.convert(content, Result)
        except FileNotFoundError:
            continue  # another run has recorded it
        except OSError as error:
            raise _unreadable(path, error.strerror or str(error)) from error
        except UNREADABLE as error:
            raise _unreadable(path, value_text(error)) from error
        except (ValueError, RecursionError) as error:
            raise _unreadable(path, "it is not JSON") from error
        if study_dir.pending_result(outcome.number).name.split(".")[0] != path.name.split(".")[0]:
            raise _unreadable(path, f"it is the result of trial {outcome.number}")
        if not 0 <= outcome.best_epoch <= outcome.epochs <= _MOST_EPOCHS:
            raise _unreadable(path, "the value of `epochs` is invalid")
        needed = record(outcome.number, outcome, owner)
        if needed:
            say(f"the result of trial {outcome.number}, pending from an earlier run, is now in the database")
        if needed is not None:
            remove([path])


def _unreadable(path: Path, why: str) -> StorageError:
    return StorageError(f"cannot be read: {why}", where=str(path), fix="Move it away.")
