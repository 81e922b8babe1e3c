"""Keeps the files of a study directory up to date as trials end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from sasrecf_tune.files import append_line, atomic_write
from sasrecf_tune.layout import Layout
from sasrecf_tune.observer import Observer
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
# The files that hold all trials are written anew each time, so not after every trial when these are short:
# at most so often, and never for more than a share of the time.
_WRITE_SECONDS = 2.0
_WRITE_SHARE = 0.05


class ResultFiles(Observer):
    """An observer that writes trials.csv, ranking.csv, ranking.md, best.yaml and hyper.result.

    trials.csv has its row when a trial ends; the other files follow within seconds, and when the search is
    over. The database is the truth: everything here is written anew from it when a run starts.
    """

    def __init__(
        self, layout: Layout, plan: Plan, study: TuneStudy, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._layout = layout
        self._plan = plan
        self._study = study
        self._clock = clock
        self._stale = False
        self._names = plan.space.names
        self._metrics = plan.data.metric_keys
        self._records = [record for record in study.records() if record.state in ENDED]
        lines = [trials_header(self._names, self._metrics)]
        lines += [trials_row(record, self._names, self._metrics) for record in self._records]
        atomic_write(layout.trials, "".join(lines))
        _remove(layout.half_written())
        self._write_ranking()

    def tick(self) -> None:
        """Bring the files up to date, unless that was done just now."""
        if self._stale and self._clock() >= self._next_write:
            self._write_ranking()

    def over(self) -> None:
        """Bring the files up to date."""
        if self._stale:
            self._write_ranking()

    def ended(self, record: TrialRecord) -> None:
        """Add the trial to trials.csv at once, to the others when it is time."""
        self._records.append(record)
        append_line(self._layout.trials, trials_row(record, self._names, self._metrics))
        self._stale = True
        self.tick()

    def _write_ranking(self) -> None:
        started = self._clock()
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
            engine = self._plan.settings.engine
            atomic_write(self._layout.best, best_yaml(config, winner, metric, self._layout.name, engine))
        kept = [row.record.number for row in rows if row.rank is not None][:KEPT_CHECKPOINTS]
        self._drop_checkpoints(kept)
        self._stale = False
        now = self._clock()
        self._next_write = now + max(_WRITE_SECONDS, (now - started) / _WRITE_SHARE)

    def _drop_checkpoints(self, kept: Sequence[int]) -> None:
        # Of trials that have ended: a worker may have saved weights whose trial has yet to be told of.
        dropped = {self._layout.checkpoint(record.number) for record in self._records}
        dropped -= {self._layout.checkpoint(number) for number in kept}
        dropped |= {self._layout.unfinished(record.number) for record in self._records}
        _remove(path for path in self._layout.checkpoints.glob("trial-*") if path in dropped)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
