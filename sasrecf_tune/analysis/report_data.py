"""All that a report is made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sasrecf_tune.analysis.confirmation import Confirmation, Verdict, rank_confirmed
from sasrecf_tune.analysis.winner import Winner
from sasrecf_tune.inputs.metrics import Metric
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.storage.manifest import read_manifest
from sasrecf_tune.trials import ENDED, Row, State, TrialRecord, rank

if TYPE_CHECKING:
    from sasrecf_tune.inputs.settings import RunSettings
    from sasrecf_tune.storage.directory import StudyDirectory


Curves = dict[int, list[tuple[int, float]]]


@dataclass(frozen=True)
class Origin:
    """On what a trial was trained, and what came out."""

    valid: dict[str, float]
    test: dict[str, float]
    device: str
    threads: int
    fused: int = 1


@dataclass(frozen=True)
class Results:
    """All trials of the search, the last confirmation that was trained to its end, and the last asked for.

    `tests` are by trial, and so are `curves`: (epoch, score). `seconds` is what all runs of the search have
    taken. `origin` is that of what was chosen, where there is such. `runs` are those of all confirmations.
    """

    records: list[TrialRecord]
    tests: dict[int, dict[str, float]] = field(default_factory=dict)
    whole: Confirmation | None = None
    asked: Confirmation | None = None
    chosen: Winner | None = None
    origin: Origin | None = None
    curves: Curves = field(default_factory=dict)
    seconds: float = 0.0
    runs: list[TrialRecord] = field(default_factory=list)

    @property
    def confirmation(self) -> Confirmation | None:
        """What there is to show of one: the whole one, else what there is of the one asked for."""
        return self.whole or self.asked


@dataclass(frozen=True)
class ReportData:
    """A study's trials, their (epoch, score) curves by trial number, and its manifest.

    `seconds` is what all runs have taken. There are no test metrics in it but those of a `confirmation`;
    `unit` is the last digit of a score.
    """

    name: str
    metric: Metric
    space: SearchSpace
    records: list[TrialRecord]
    curves: Curves
    manifest: dict[str, Any]
    seconds: float = 0.0
    confirmation: Confirmation | None = None
    chosen: Winner | None = None
    unit: float = 0.0

    @cached_property
    def rows(self) -> list[Row]:
        """The ranking."""
        return rank(self.records, self.metric.maximize)

    @cached_property
    def ranked(self) -> list[TrialRecord]:
        """Completed trials with a score, best first."""
        return [row.record for row in self.rows if row.rank is not None]

    @cached_property
    def confirmed_ranking(self) -> tuple[Confirmation, Verdict] | None:
        """The confirmation and what it says, where there is one."""
        if self.confirmation is None:
            return None
        return self.confirmation, rank_confirmed(self.confirmation, self.metric.maximize, self.unit)

    @property
    def best(self) -> TrialRecord | None:
        """The first of the ranking."""
        return self.ranked[0] if self.ranked else None

    @cached_property
    def varied(self) -> tuple[str, ...]:
        """Parameters that had more than one value in trials that have ended."""
        ended = [record for record in self.records if record.state in ENDED and record.params]
        return tuple(n for n in self.space.names if len({repr(r.params.get(n)) for r in ended}) > 1)

    def count(self, state: str) -> int:
        """How many trials are in this state."""
        return sum(record.state == state for record in self.records)

    @property
    def unfinished(self) -> int:
        """How many trials run, or wait to be taken up again."""
        return len(self.records) - len(self.rows)

    @property
    def completed(self) -> int:
        """How many trials have completed."""
        return self.count(State.COMPLETE)


def report_data_of(
    study_dir: StudyDirectory, settings: RunSettings, space: SearchSpace, results: Results
) -> ReportData:
    """What a report needs of a study.

    Raises:
        StorageError: the manifest cannot be read.
    """
    return ReportData(
        study_dir.name,
        settings.metric,
        space,
        results.records,
        results.curves,
        read_manifest(study_dir),
        results.seconds,
        results.confirmation,
        results.chosen,
        settings.unit,
    )
