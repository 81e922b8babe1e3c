"""What a tracker is told of a trial and of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sasrecf_tune.trials import ENDED, LISTED, State, TrialRecord, cell_text


@dataclass(frozen=True)
class EpochLog:
    """One validation.

    Args:
        values: Of the curves at this epoch, by name.
        time: When it was reported, as a Unix time.
        complete: Whether it has the training loss and all metrics; else they follow when the trial ends.
    """

    epoch: int
    values: dict[str, float]
    time: float
    complete: bool = True


@dataclass(frozen=True)
class StateChange:
    """A state that a trial came into, after so many epochs."""

    state: State
    epoch: int
    time: float

    def __str__(self) -> str:
        return f"{self.state} after epoch {self.epoch}" if self.epoch else str(self.state)


@dataclass(frozen=True)
class TrialLog:
    """All that is known of a trial.

    Args:
        params: Its parameters as RecBole reads them, its seed, and where it was imported from.
        record: Its last record: of a pause or of its end, if there was one.
        changes: The states that it came into since this run took it, in order.
    """

    number: int
    params: Mapping[str, Any]
    state: State
    started: float
    epochs: tuple[EpochLog, ...] = ()
    record: TrialRecord | None = None
    ended: float | None = None
    changes: tuple[StateChange, ...] = ()

    @property
    def name(self) -> str:
        """The name of its run, as in the names of the study's files."""
        return f"trial-{self.number:04d}"

    @property
    def settled(self) -> bool:
        """Whether nothing of it is expected for now: it has ended or was paused."""
        return self.state in LISTED

    @property
    def values(self) -> tuple[EpochLog, ...]:
        """The epochs to log now: until the trial is settled, none after one that is not complete."""
        if self.settled:
            return self.epochs
        first = next((place for place, epoch in enumerate(self.epochs) if not epoch.complete), None)
        return self.epochs[:first]

    @property
    def last_epoch(self) -> int:
        """The last epoch that was reported; 0 for none."""
        return self.epochs[-1].epoch if self.epochs else 0

    @property
    def last_time(self) -> float:
        """When the last thing that is known of it happened."""
        return self.ended or (self.epochs[-1].time if self.epochs else self.started)

    def is_outdated(self, state: str, epoch: int) -> bool:
        """Whether a tracker that has the trial in `state`, after `epoch` epochs, knows more than this.

        Another coordinator may have continued the trial, and ended it, before this could be sent.
        """
        return self.state not in ENDED and (state in ENDED or epoch > self.last_epoch)

    def states(self, earlier: str) -> str:
        """All states that it came into; `earlier` are those that an earlier coordinator has told."""
        return ", ".join([*([earlier] if earlier else []), *map(str, self.changes)])

    @property
    def results(self) -> dict[str, float]:
        """The numbers about the whole trial, by name."""
        record = self.record
        if record is None or not self.settled:
            return {}
        found: dict[str, float] = {} if record.score is None else {"score": record.score}
        return found | {
            "trial/best_epoch": record.best_epoch,
            "trial/epochs": record.epochs,
            "trial/seconds": record.seconds,
            "trial/weights": record.weights,
        }

    @property
    def error(self) -> str:
        """Why it failed; "" if it did not."""
        return self.record.error if self.record is not None and self.state == State.FAILED else ""


@dataclass(frozen=True)
class StudyLog:
    """All that is known of a study.

    Args:
        id: Tells it from another study of the same name.
        settings: What it was started with, by name.
        ended: Whether the search has ended, rather than been interrupted; None while it runs.
        trials: How many trials there are in each state.
        best: Numbers and parameters of the winner.
        files: Its result files, which exist.
        ranking: ranking.md, as text.
        shared: Whether several coordinators may work on the study, and a trial pass from one to another.
    """

    id: str
    name: str
    metric: str
    settings: Mapping[str, Any]
    ended: bool | None = None
    trials: Mapping[str, int] = field(default_factory=dict)
    best: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    ranking: str = ""
    shared: bool = False

    @property
    def state(self) -> str:
        """The state of the search, in a word."""
        return {None: "running", True: "complete", False: "interrupted"}[self.ended]


class Tracker(Protocol):
    """Writes to one tracker. Any method may raise any exception, and may then be called again.

    Attributes:
        name: Of the option --log.
        place: Where it writes to, without passwords.
    """

    name: str
    place: str

    def write_trial(self, log: TrialLog) -> None:
        """Make the trial's run say what `log` says; what it has already is not written again."""

    def write_study(self, log: StudyLog) -> None:
        """The same for the study, and attach its files."""

    def close(self) -> None:
        """Write what is buffered, and release everything."""


def flat_params(params: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """Parameters with lists and None as text."""
    return {
        name: value if isinstance(value, bool | int | float | str) else cell_text(value)
        for name, value in params.items()
    }
