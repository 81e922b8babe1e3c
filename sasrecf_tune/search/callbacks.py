"""Callbacks of a search: objects whose methods are called as its trials start, report and end."""

from __future__ import annotations

from collections.abc import Mapping

from sasrecf_tune.analysis.search_summary import SearchSummary
from sasrecf_tune.messages import Report
from sasrecf_tune.trials import TrialRecord


class Callback:
    """Base class of callbacks: no method does anything, so that a subclass defines only those it needs."""

    def on_trial_start(self, number: int, params: Mapping[str, object]) -> None:
        """A trial starts, with `params` as RecBole reads them."""

    def on_report(self, report: Report) -> None:
        """A trial was validated."""

    def on_trial_end(self, record: TrialRecord) -> None:
        """A trial completed, was pruned or failed, and the database holds its outcome."""

    def on_trial_paused(self, record: TrialRecord) -> None:
        """A trial was paused, and the database holds its learning curve; it may start again later."""

    def on_summary(self, summary: SearchSummary) -> None:
        """The default search has changed its predictions, since a trial is about to end or to pause."""

    def on_trial_requeued(self, number: int) -> None:
        """A trial was put back in the queue unfinished; the next run of the study continues it."""

    def on_trial_lost(self, number: int) -> None:
        """A trial was reassigned to another run; its result in this run is discarded."""

    def on_trial_retry(self, number: int, attempt: int, reason: str) -> None:
        """A trial failed because of `reason` and is tried again, as attempt number `attempt` (from 2)."""

    def on_tick(self) -> None:
        """Called a few times a second while the search runs."""

    def on_search_end(self) -> None:
        """The search ended, in whatever way."""
