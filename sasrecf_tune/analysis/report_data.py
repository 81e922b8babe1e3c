"""The data that every report format renders."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sasrecf_tune.analysis.bounds import AtBound, at_bounds
from sasrecf_tune.analysis.confirmation import Confirmation, Verdict, rank_confirmed
from sasrecf_tune.analysis.search_summary import SearchSummary
from sasrecf_tune.analysis.winner import Winner
from sasrecf_tune.inputs.metrics import Metric
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.storage.manifest import read_manifest
from sasrecf_tune.storage.manifest_schema import Planned
from sasrecf_tune.trials import ENDED, Row, State, TrialRecord, rank

if TYPE_CHECKING:
    from sasrecf_tune.analysis.user_scores import UserScores
    from sasrecf_tune.inputs.settings import RunSettings
    from sasrecf_tune.storage.directory import StudyDirectory


Curves = dict[int, list[tuple[int, float]]]


@dataclass(frozen=True)
class Origin:
    """What a trial was trained on, and its metrics."""

    valid: dict[str, float]
    test: dict[str, float]
    device: str
    threads: int
    fused: int = 1


@dataclass(frozen=True)
class Results:
    """Everything that a study's database holds.

    Args:
        records: All trials of the search.
        tests: Test metrics by trial number.
        complete_confirmation: The last confirmation whose runs have all ended.
        latest_confirmation: The confirmation that was planned last.
        winner: The trial or run that best.yaml reproduces.
        origin: What the winner was trained on.
        curves: (epoch, score) pairs by trial number.
        seconds: How long all runs of the search have taken.
        runs: The runs of all confirmations.
        summary: What the default search has found; None if it is outdated.
        renamed: A note if the study has another name in its database than its directory.
    """

    records: list[TrialRecord]
    tests: dict[int, dict[str, float]] = field(default_factory=dict)
    complete_confirmation: Confirmation | None = None
    latest_confirmation: Confirmation | None = None
    winner: Winner | None = None
    origin: Origin | None = None
    curves: Curves = field(default_factory=dict)
    seconds: float = 0.0
    runs: list[TrialRecord] = field(default_factory=list)
    summary: SearchSummary | None = None
    renamed: str = ""

    @property
    def confirmation(self) -> Confirmation | None:
        """The confirmation to show: the complete one, else the runs of the latest that have ended."""
        return self.complete_confirmation or self.latest_confirmation


@dataclass(frozen=True)
class ReportData:
    """A study as a report shows it. It has test metrics of a confirmation only.

    Args:
        records: All trials of the search.
        curves: (epoch, score) pairs by trial number.
        manifest: The content of manifest.json.
        seconds: How long all runs of the search have taken.
        confirmation: The confirmation to show.
        winner: The trial or run that best.yaml reproduces.
        unit: The last digit of a score, such as 1e-4.
        summary: What the default search has found; None if it is outdated.
        until: The expected regret that ends the search, in standard deviations between seeds; 0 for never.
        users: The scores of each user with the winner; None if they were not written.
    """

    name: str
    metric: Metric
    space: SearchSpace
    records: list[TrialRecord]
    curves: Curves
    manifest: dict[str, Any]
    seconds: float = 0.0
    confirmation: Confirmation | None = None
    winner: Winner | None = None
    unit: float = 0.0
    summary: SearchSummary | None = None
    until: float = 0.0
    users: UserScores | None = None

    @cached_property
    def rows(self) -> list[Row]:
        """All trials that have ended or are paused, ranked."""
        return rank(self.records, self.metric.maximize)

    @cached_property
    def ranked(self) -> list[TrialRecord]:
        """Completed trials with a score, best first."""
        return [row.record for row in self.rows if row.rank is not None]

    @cached_property
    def confirmed_ranking(self) -> tuple[Confirmation, Verdict] | None:
        """The confirmation and its ranking, None without a confirmation."""
        if self.confirmation is None:
            return None
        return self.confirmation, rank_confirmed(self.confirmation, self.metric.maximize, self.unit)

    @property
    def best(self) -> TrialRecord | None:
        """The best completed trial, None if there is none."""
        return self.ranked[0] if self.ranked else None

    @cached_property
    def at_bounds(self) -> list[AtBound]:
        """The parameters of the best configuration that lie on a bound of the search space."""
        record = self.winner.record if self.winner is not None else self.best
        if record is None:
            return []
        return at_bounds(record.params, self.records, self.space, self.manifest.get("config", {}))

    @cached_property
    def varied(self) -> tuple[str, ...]:
        """Parameters with more than one value among these trials."""
        return self._varied([row.record for row in self.rows if row.record.params])

    @cached_property
    def varied_among_ranked(self) -> tuple[str, ...]:
        """Parameters with more than one value among `ranked`."""
        return self._varied(self.ranked)

    def _varied(self, records: list[TrialRecord]) -> tuple[str, ...]:
        return tuple(n for n in self.space.names if len({repr(r.params.get(n)) for r in records}) > 1)

    def count(self, state: str) -> int:
        """Return how many trials are in `state`."""
        return sum(record.state == state for record in self.records)

    @property
    def unfinished(self) -> int:
        """How many trials are running or interrupted."""
        return len(self.records) - len(self.rows)

    @property
    def finished(self) -> bool:
        """Whether all planned trials have ended, or the expected regret is low enough."""
        planned = self.manifest.get("planned_trials")
        ended = sum(self.count(state) for state in ENDED)
        over = self.summary is not None and self.summary.is_over(self.until)
        return planned is not None and (over or ended >= planned) and not self.unfinished

    @property
    def completed(self) -> int:
        """How many trials are complete."""
        return self.count(State.COMPLETE)


def report_data_of(
    study_dir: StudyDirectory, settings: RunSettings, space: SearchSpace, results: Results
) -> ReportData:
    """Collect what a report shows of a study.

    Raises:
        StorageError: the manifest cannot be read.
    """
    # It loads numpy, which writing a search space in Python does without.
    from sasrecf_tune.analysis.user_scores import read_user_scores

    return ReportData(
        study_dir.name,
        settings.metric,
        space,
        results.records,
        results.curves,
        read_manifest(study_dir, Planned),
        results.seconds,
        results.confirmation,
        results.winner,
        settings.unit,
        results.summary,
        settings.search.until,
        read_user_scores(study_dir, settings, results.winner, results.tests),
    )
