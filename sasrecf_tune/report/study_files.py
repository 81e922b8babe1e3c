"""Keeps the files of a study directory up to date as trials end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from sasrecf_tune.analysis.confirmation import Confirmation
from sasrecf_tune.analysis.winner import pick_winner
from sasrecf_tune.report.formats.best_yaml import chosen_yaml
from sasrecf_tune.report.formats.trials import (
    hyper_result,
    ranking_csv,
    ranking_markdown,
    trials_header,
    trials_row,
)
from sasrecf_tune.search.callbacks import Callback
from sasrecf_tune.search.plan import Plan
from sasrecf_tune.search.study import TuneStudy
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.files import append_line, atomic_write, remove
from sasrecf_tune.trials import ENDED, TrialRecord, rank

# Weights kept on disk: those of the best few trials.
KEPT_CHECKPOINTS = 3
# The files that hold all trials are written anew each time, so not after every trial when these are short:
# at most so often, and never for more than a share of the time.
_WRITE_SECONDS = 2.0
_WRITE_SHARE = 0.05


class ResultFiles(Callback):
    """An observer that writes trials.csv, ranking.csv, ranking.md, best.yaml and hyper.result.

    trials.csv has its row when a trial ends, unless others may write to it too; the other files follow within
    seconds, and when the search is over. The database is the truth: everything here is written anew from it
    when a run starts. `confirmed` is the last confirmation, which best.yaml goes by.
    """

    def __init__(
        self,
        study_dir: StudyDirectory,
        plan: Plan,
        study: TuneStudy,
        clock: Callable[[], float] = time.monotonic,
        confirmed: Confirmation | None = None,
    ) -> None:
        self._layout = study_dir
        self._plan = plan
        self._study = study
        self._clock = clock
        self._confirmed = confirmed
        self._stale = False
        # Others may write to the same directory: a file that is whole whoever wrote it last.
        self._among_others = plan.settings.storage is not None
        self._names = plan.space.names
        self._metrics = plan.data.metric_keys
        self._records = [record for record in study.records() if record.state in ENDED]
        self._write_trials()
        self._write_ranking()

    def on_tick(self) -> None:
        """Bring the files up to date, unless that was done just now."""
        if self._stale and self._clock() >= self._next_write:
            self._write_ranking()

    def on_search_end(self) -> None:
        """Bring the files up to date."""
        if self._stale:
            self._write_ranking()

    def on_trial_end(self, record: TrialRecord) -> None:
        """Add the trial to trials.csv at once, to the others when it is time."""
        self._records.append(record)
        if not self._among_others:
            append_line(self._layout.trials, trials_row(record, self._names, self._metrics))
        self._stale = True
        self.on_tick()

    def again(self, records: Iterable[TrialRecord]) -> None:
        """Write all files anew from `records`."""
        self._records = [record for record in records if record.state in ENDED]
        self._write_trials()
        self._write_ranking()

    def _write_trials(self) -> None:
        lines = [trials_header(self._names, self._metrics)]
        lines += [trials_row(record, self._names, self._metrics) for record in self._records]
        atomic_write(self._layout.trials, "".join(lines))

    def _write_ranking(self) -> None:
        started = self._clock()
        if self._among_others:
            self._write_trials()
        rows = rank(self._records, self._study.maximize)
        metric = str(self._plan.settings.metric)
        atomic_write(self._layout.ranking_csv, ranking_csv(rows, self._names, self._metrics))
        atomic_write(self._layout.ranking_md, ranking_markdown(rows, self._names, metric))
        by_number = sorted(self._records, key=lambda record: record.number)
        atomic_write(
            self._layout.hyper_result, hyper_result(by_number, self._study.test_metrics(), self._names)
        )
        settings = self._plan.settings
        chosen = pick_winner(self._records, self._confirmed, self._study.maximize, settings.unit)
        if chosen is not None:
            atomic_write(self._layout.best, chosen_yaml(chosen, settings, self._plan.space))
        kept = [row.record.number for row in rows if row.rank is not None][:KEPT_CHECKPOINTS]
        drop_checkpoints(self._layout, [record.number for record in self._records], kept)
        self._stale = False
        now = self._clock()
        self._next_write = now + max(_WRITE_SECONDS, (now - started) / _WRITE_SHARE)


def drop_checkpoints(study_dir: StudyDirectory, ended: Iterable[int], kept: Iterable[int]) -> None:
    """Remove what trials that have ended would continue from, and all weights but those of `kept`."""
    # Of trials that have ended: a worker may have saved weights whose trial has yet to be told of.
    numbers = set(ended)
    dropped = {study_dir.checkpoint(number) for number in numbers - set(kept)}
    dropped |= {study_dir.unfinished(number) for number in numbers}
    remove(path for path in study_dir.saved() if path in dropped)
