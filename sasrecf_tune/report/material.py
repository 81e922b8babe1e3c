"""All that a report is made from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sasrecf_tune.chosen import Chosen
from sasrecf_tune.confirmation import Confirmation, Verdict, judge
from sasrecf_tune.manifest import read_manifest
from sasrecf_tune.metrics import Metric
from sasrecf_tune.ranking import COMPLETE, ENDED, Row, TrialRecord, rank
from sasrecf_tune.results import Curves, Results
from sasrecf_tune.space import SearchSpace

if TYPE_CHECKING:
    from sasrecf_tune.layout import Layout
    from sasrecf_tune.settings import RunSettings


@dataclass(frozen=True)
class Material:
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
    chosen: Chosen | None = None
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
    def judged(self) -> tuple[Confirmation, Verdict] | None:
        """The confirmation and what it says, where there is one."""
        if self.confirmation is None:
            return None
        return self.confirmation, judge(self.confirmation, self.metric.maximize, self.unit)

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
        return self.count(COMPLETE)


def material_of(layout: Layout, settings: RunSettings, space: SearchSpace, results: Results) -> Material:
    """What a report needs of a study.

    Raises:
        StorageError: the manifest cannot be read.
    """
    return Material(
        layout.name,
        settings.metric,
        space,
        results.records,
        results.curves,
        read_manifest(layout),
        results.seconds,
        results.confirmation,
        results.chosen,
        settings.unit,
    )
