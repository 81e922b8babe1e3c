"""Keeps the files of a study directory up to date as trials end."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

from sasrecf_tune.files import append_line, atomic_write
from sasrecf_tune.layout import Layout
from sasrecf_tune.messages import Report
from sasrecf_tune.plan import Plan
from sasrecf_tune.ranking import ENDED, TrialRecord, best, rank
from sasrecf_tune.report.exports import (
    best_yaml,
    hyper_result,
    ranking_csv,
    ranking_markdown,
    reproducing,
    trials_header,
    trials_row,
)
from sasrecf_tune.study import TuneStudy

# Weights kept on disk: those of the best few trials.
KEPT_CHECKPOINTS = 3


class ResultFiles:
    """An observer that writes trials.csv, ranking.csv, ranking.md, best.yaml and hyper.result.

    The database is the truth: everything here is written anew from it when a run starts.
    """

    def __init__(self, layout: Layout, plan: Plan, study: TuneStudy) -> None:
        self._layout = layout
        self._plan = plan
        self._study = study
        self._names = plan.space.names
        self._metrics = plan.data.metric_keys
        self._records = [record for record in study.records() if record.state in ENDED]
        lines = [trials_header(self._names, self._metrics)]
        lines += [trials_row(record, self._names, self._metrics) for record in self._records]
        atomic_write(layout.trials, "".join(lines))
        self._write_ranking()

    def started(self, number: int, params: Mapping[str, object]) -> None:
        """Nothing to write."""

    def reported(self, report: Report) -> None:
        """Nothing to write."""

    def returned(self, number: int) -> None:
        """Nothing to write."""

    def retrying(self, number: int, attempt: int, reason: str) -> None:
        """Nothing to write."""

    def tick(self) -> None:
        """Nothing to write."""

    def ended(self, record: TrialRecord) -> None:
        """Add the trial to every file."""
        self._records.append(record)
        append_line(self._layout.trials, trials_row(record, self._names, self._metrics))
        self._write_ranking()

    def _write_ranking(self) -> None:
        rows = rank(self._records, self._study.maximize)
        metric = str(self._plan.settings.metric)
        atomic_write(self._layout.ranking_csv, ranking_csv(rows, self._names, self._metrics))
        atomic_write(self._layout.ranking_md, ranking_markdown(rows, self._names, metric))
        by_number = sorted(self._records, key=lambda record: record.number)
        atomic_write(
            self._layout.hyper_result, hyper_result(by_number, self._study.test_metrics(), self._names)
        )
        winner = best(self._records, self._study.maximize)
        if winner is not None:
            config = reproducing(self._plan.config(winner.params, winner.seed))
            atomic_write(self._layout.best, best_yaml(config, winner, metric, self._layout.name))
        kept = [row.record.number for row in rows if row.rank is not None][:KEPT_CHECKPOINTS]
        self._drop_checkpoints(kept)

    def _drop_checkpoints(self, kept: Sequence[int]) -> None:
        wanted = {self._layout.checkpoint(number) for number in kept}
        for path in self._layout.checkpoints.glob("trial-*.pth"):
            if path not in wanted:
                with contextlib.suppress(OSError):
                    path.unlink()
