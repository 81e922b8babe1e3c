"""Who wants to know what happens in a search."""

from __future__ import annotations

from collections.abc import Mapping

from sasrecf_tune.messages import Report
from sasrecf_tune.trials import TrialRecord


class Callback:
    """Told what happens, in order; shows it or writes it down. What is not overridden passes by."""

    def started(self, number: int, params: Mapping[str, object]) -> None:
        """A trial begins."""

    def reported(self, report: Report) -> None:
        """A trial has been validated."""

    def ended(self, record: TrialRecord) -> None:
        """A trial is over and on disk."""

    def returned(self, number: int) -> None:
        """A trial was given back unfinished; a later run trains it again, or continues it."""

    def lost(self, number: int) -> None:
        """A trial was given to another run; what became of it here is dropped."""

    def retrying(self, number: int, attempt: int, reason: str) -> None:
        """An attempt of a trial failed because of `reason`; attempt `attempt` (from 2) will follow."""

    def tick(self) -> None:
        """Called a few times a second."""

    def over(self) -> None:
        """The search has ended, in whatever way."""
