"""The checkpoints of paused trials in a study directory, within a limit on their size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sasrecf_tune.environment import host_name
from sasrecf_tune.messages import Result
from sasrecf_tune.search.trial_attributes import Pause
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.files import remove


@dataclass(frozen=True)
class PausedCheckpoints:
    """Finds the checkpoints that paused trials go on from, and removes those that take too much space.

    Args:
        study_dir: Of this run. Other runs of the study may have one of their own.
        limit: Bytes that all of them may take.
        shared: Whether other runs may work on the study.
    """

    study_dir: StudyDirectory
    limit: int
    shared: bool

    def describe(self, outcome: Result) -> Pause:
        """How a trial was paused that a worker of this run has returned."""
        written = self._written(outcome.number)
        checkpoint = outcome.checkpoint if written else 0
        return {
            "epoch": outcome.epochs,
            "checkpoint": checkpoint,
            "written": written if checkpoint else 0,
            "host": host_name(),
        }

    def epoch(self, number: int, pause: Pause) -> int:
        """The epoch after which a paused trial goes on in this run; 0 if it begins anew."""
        checkpoint = pause.get("checkpoint", 0)
        if not checkpoint:
            return 0
        written = self._written(number)
        # Another run, with a directory of its own, may have paused the trial since. A study in its directory
        # has only one run, and may have been copied.
        valid = written == pause.get("written") if self.shared else written
        return checkpoint if valid else 0

    def drop_weakest(self, costs: Mapping[int, float], pauses: Mapping[int, Pause]) -> list[int]:
        """Remove checkpoints until the others fit into the limit.

        Args:
            costs: For each paused trial, a number that is larger for a worse one.
            pauses: How each was paused.

        Returns:
            The trials that would have gone on from what was removed.
        """
        sizes = {number: size for number in costs if (size := self._size(number))}
        total, dropped = sum(sizes.values()), []
        for number in sorted(sizes, key=lambda number: (-costs[number], -number)):
            if total <= self.limit:
                break
            total -= sizes[number]
            if self.epoch(number, pauses[number]):
                dropped.append(number)
            remove([self.study_dir.unfinished(number)])
        return dropped

    def _written(self, number: int) -> int:
        try:
            return self.study_dir.unfinished(number).stat().st_mtime_ns
        except OSError:
            return 0

    def _size(self, number: int) -> int:
        try:
            return self.study_dir.unfinished(number).stat().st_size
        except OSError:
            return 0
