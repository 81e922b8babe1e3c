"""Results that the database could not be told of, kept in the study directory until it can."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict

from sasrecf_tune.errors import StorageError
from sasrecf_tune.messages import Decision, Failure, Report, Result
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.files import atomic_write, remove


class PendingResult:
    """The result of one trial, while the database may refuse it.

    `owner` is the token of the coordinator whose trial it is, "" where it has the study for itself: then
    nothing is kept, and the trial is trained again.
    """

    def __init__(self, study_dir: StudyDirectory, outcome: Result | Failure, owner: str) -> None:
        self._path = study_dir.pending_result(outcome.number)
        self._outcome = outcome
        self._owner = owner
        self._kept = False

    def keep(self) -> None:
        """Write it down, unless it is there already, or the disk refuses too."""
        if self._owner and not self._kept and isinstance(self._outcome, Result):
            outcome = self._outcome
            content = asdict(outcome) | {"decision": outcome.decision.value, "owner": self._owner}
            with contextlib.suppress(StorageError):
                atomic_write(self._path, json.dumps(content) + "\n")
                self._kept = True

    def drop(self) -> None:
        """It is in the database, or of no use."""
        if self._owner:
            remove([self._path])


class DrainHandler:
    """In place of a coordinator that has given up its database: keeps what has ended, and ends the rest."""

    def __init__(self, study_dir: StudyDirectory, owner: str) -> None:
        self.heard = 0  # how many reports and ends
        self.kept: set[int] = set()
        self._layout = study_dir
        self._owner = owner

    def on_report(self, report: Report) -> Decision:
        """See `Handler`."""
        self.heard += 1
        return Decision.STOP

    def on_outcome(self, outcome: Result | Failure) -> None:
        """See `Handler`."""
        self.heard += 1
        if isinstance(outcome, Result) and outcome.decision is not Decision.STOP:
            PendingResult(self._layout, outcome, self._owner).keep()
            self.kept.add(outcome.number)


def replay_pending(
    study_dir: StudyDirectory, tell: Callable[[int, Result, str], bool | None], say: Callable[[str], None]
) -> None:
    """Have `tell` record what was kept, by number, result and owner.

    It returns whether that was of use, or None where that is not known yet, and the result is kept on.
    """
    for path in study_dir.pending_results():
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            owner = content.pop("owner")
            notes = tuple(content.pop("notes"))
            outcome = Result(**content | {"decision": Decision(content["decision"]), "notes": notes})
        except FileNotFoundError:
            continue  # another run has told of it
        except (OSError, ValueError, TypeError, LookupError) as error:
            raise StorageError(f"cannot be read: {error}", where=str(path), fix="Move it away.") from error
        told = tell(outcome.number, outcome, owner)
        if told:
            say(f"the result of trial {outcome.number}, which an earlier run had to keep, is in the database")
        if told is not None:
            remove([path])
