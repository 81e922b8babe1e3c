"""The result files of a study directory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from typing_extensions import override

from sasrecf_tune.analysis.confirmation import Confirmation
from sasrecf_tune.analysis.winner import pick_winner
from sasrecf_tune.report.choice_text import choice_text
from sasrecf_tune.report.formats.best_yaml import best_yaml
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
from sasrecf_tune.trials import ENDED, LISTED, Row, State, TrialRecord, rank

# Weights kept on disk: those of the best few trials.
KEPT_CHECKPOINTS = 3
# The files of all trials are rewritten as a whole. When trials are short, not after each of them: at most
# every _WRITE_SECONDS, and for at most _WRITE_SHARE of the time.
_WRITE_SECONDS = 2.0
_WRITE_SHARE = 0.05


class ResultFiles(Callback):
    """Writes trials.csv, ranking.csv, ranking.md, best.yaml and hyper.result.

    trials.csv gets its row as soon as a trial ends, unless other runs may write to it too. It has no paused
    trials; the rankings do. The other files follow within seconds, and when the search ends. All files are
    rewritten from the database when a run starts. Weights stay of all trials that may yet be among the best
    few; `drop_weights` ends that.

    Args:
        clock: Returns the time in seconds.
        confirmed: The last complete confirmation, from which best.yaml is chosen.
    """

    def __init__(
        self,
        study_dir: StudyDirectory,
        plan: Plan,
        study: TuneStudy,
        clock: Callable[[], float] = time.monotonic,
        confirmed: Confirmation | None = None,
    ) -> None:
        self._study_dir = study_dir
        self._plan = plan
        self._study = study
        self._clock = clock
        self._confirmed = confirmed
        self._stale = False
        # Other runs may write to the same directory: rewrite whole files, whoever wrote them last.
        self._shared = plan.settings.storage is not None
        # Predictions change with each curve, and are missing after a kill: any trial may be among the best in
        # the end. By scores alone, one that has fallen behind stays behind.
        self._order_changes = plan.pauses
        self._names = plan.space.names
        self._metrics = plan.data.metric_keys
        self._set_records(study.records())
        self._write_trials()
        self._write_ranking()

    @override
    def on_tick(self) -> None:
        """Bring the files up to date, unless that was done just now."""
        if self._stale and self._clock() >= self._next_write:
            self._write_ranking()

    @override
    def on_search_end(self) -> None:
        """Bring the files up to date."""
        if self._stale:
            self._write_ranking()

    @override
    def on_trial_start(self, number: int, params: Mapping[str, object]) -> None:
        """Remove the trial from the ranking if it was paused."""
        self._paused.pop(number, None)

    @override
    def on_trial_paused(self, record: TrialRecord) -> None:
        """Add the trial to the ranking when it is time."""
        self._paused[record.number] = record
        self._stale = True
        self.on_tick()

    @override
    def on_trial_end(self, record: TrialRecord) -> None:
        """Add the trial to trials.csv at once, to the others when it is time."""
        self._paused.pop(record.number, None)
        self._records.append(record)
        if not self._shared:
            append_line(self._study_dir.trials, trials_row(record, self._names, self._metrics))
        self._stale = True
        self.on_tick()

    def again(self, records: Iterable[TrialRecord]) -> None:
        """Write all files anew from `records`."""
        self._set_records(records)
        self._write_trials()
        self._write_ranking()

    def drop_weights(self) -> None:
        """Remove weights of all but the best few trials: the search has ended, and its order is recorded."""
        ranking = rank(self._study.predicted([*self._records, *self._paused.values()]), self._study.maximize)
        self._drop_checkpoints(_best(ranking))

    def _set_records(self, records: Iterable[TrialRecord]) -> None:
        listed = [record for record in records if record.state in LISTED]
        self._records = [record for record in listed if record.state in ENDED]
        self._paused = {record.number: record for record in listed if record.state == State.PAUSED}

    def _write_trials(self) -> None:
        lines = [trials_header(self._names, self._metrics)]
        lines += [trials_row(record, self._names, self._metrics) for record in self._records]
        atomic_write(self._study_dir.trials, "".join(lines))

    def _write_ranking(self) -> None:
        started = self._clock()
        if self._shared:
            self._write_trials()
        records = self._study.predicted([*self._records, *self._paused.values()])
        rows = rank(records, self._study.maximize)
        metric = self._plan.settings.metric
        atomic_write(self._study_dir.ranking_csv, ranking_csv(rows, self._names, self._metrics))
        markdown = ranking_markdown(rows, self._names, metric, choice_text(rows, metric))
        atomic_write(self._study_dir.ranking_md, markdown)
        by_number = sorted(self._records, key=lambda record: record.number)
        atomic_write(
            self._study_dir.hyper_result, hyper_result(by_number, self._study.test_metrics(), self._names)
        )
        settings = self._plan.settings
        winner = pick_winner(records, self._confirmed, self._study.maximize, settings.unit)
        if winner is not None:
            atomic_write(self._study_dir.best, best_yaml(winner, settings, self._plan.space))
        self._drop_checkpoints(_ranked(rows) if self._order_changes else _best(rows))
        self._stale = False
        now = self._clock()
        self._next_write = now + max(_WRITE_SECONDS, (now - started) / _WRITE_SHARE)

    def _drop_checkpoints(self, kept: Iterable[int]) -> None:
        drop_checkpoints(self._study_dir, [record.number for record in self._records], kept)


def _ranked(rows: Iterable[Row]) -> list[int]:
    return [row.record.number for row in rows if row.rank is not None and not row.record.imported]


def _best(rows: Iterable[Row]) -> list[int]:
    return _ranked(rows)[:KEPT_CHECKPOINTS]


def drop_checkpoints(study_dir: StudyDirectory, ended: Iterable[int], kept: Iterable[int]) -> None:
    """Remove the checkpoints of ended trials, and their weights except those of the trials `kept`."""
    # Only of `ended` trials: a worker may have saved weights of a trial whose end is not recorded yet.
    numbers = set(ended)
    dropped = {study_dir.checkpoint(number) for number in numbers - set(kept)}
    dropped |= {study_dir.unfinished(number) for number in numbers}
    remove(path for path in study_dir.saved() if path in dropped)
