"""The progress of a run: its state, and a view with a plain line or a JSON line per event."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text
from typing_extensions import override

from sasrecf_tune.analysis.search_summary import SearchSummary, with_predictions
from sasrecf_tune.inputs.durations import format_duration, rough_duration
from sasrecf_tune.inputs.metrics import Metric
from sasrecf_tune.messages import Report
from sasrecf_tune.report.terminal.tables import ranking_table
from sasrecf_tune.report.text import json_text, parameters_text, seconds_text
from sasrecf_tune.search.callbacks import Callback
from sasrecf_tune.trials import ENDED, State, TrialRecord, best, rank


@dataclass
class Running:
    """A trial in training: when this attempt began on `time.monotonic`, and its last report."""

    params: Mapping[str, object]
    since: float
    report: Report | None = None

    @property
    def epoch(self) -> int:
        """Epochs that have ended."""
        return self.report.epoch if self.report else 0


@dataclass
class Progress:
    """The state that every view shows.

    Args:
        trials: Trials of the study in total.
        epochs: Maximum epochs of a trial.
        paused: Trials that are paused, by number.
        summary: What the search predicts.
        until: The expected regret that ends the search, in standard deviations between seeds; 0 for never.
        curves: For each trial that this run trained, its (epoch, score) pairs.
        since: Start of this run on `time.monotonic`, in seconds.
        word: What a trial is called.
    """

    names: Sequence[str]
    metric: Metric
    maximize: bool
    trials: int
    epochs: int
    workers: int
    records: list[TrialRecord]
    running: dict[int, Running] = field(default_factory=dict)
    paused: dict[int, TrialRecord] = field(default_factory=dict)
    summary: SearchSummary | None = None
    until: float = 0.0
    curves: dict[int, list[tuple[int, float]]] = field(default_factory=dict)
    since: float = field(default_factory=time.monotonic)
    word: str = "trial"
    always_counted: Sequence[str] = (State.COMPLETE, State.PRUNED)

    @property
    def left(self) -> int:
        """Trials that have not ended."""
        return max(0, self.trials - len(self.records))

    def time_left(self) -> str:
        """Say how long all trials still take, from the first epoch on; "" if that is not known.

        A trial is taken to train as many epochs as those that have ended. Before the first has, and where
        trials are paused, it is taken to train all of them, which is an upper bound.
        """
        ended = [record for record in self.records if record.epochs]
        trained = [*ended, *self.paused.values()]
        reports = [running.report for running in self.running.values() if running.report]
        epochs = sum(each.epochs for each in trained) + sum(each.epoch for each in reports)
        if not epochs or not self.left:
            return ""
        seconds = sum(each.seconds for each in trained) + sum(each.seconds for each in reports)
        bound = bool(self.paused) or not ended
        each = self.epochs if bound else sum(record.epochs for record in ended) / len(ended)
        waiting = max(0, self.left - len(self.running))
        to_train = each * waiting + sum(max(1, each - one.epoch) for one in self.running.values())
        to_train -= sum(record.epochs for record in self.paused.values())
        at_once = min(self.left, max(self.workers, len(self.running)))
        word = "at most" if bound else "about"
        return f"{word} {rough_duration(seconds / epochs * to_train / at_once)} left"

    def leader(self) -> str:
        """The best completed trial so far, "" if there is none."""
        top = best(with_predictions(self.records, self.summary), self.maximize)
        return f"trial {top.number} with {self.metric.text(top.score)}" if top else ""

    def table(self, width: int, most: int) -> RenderableType | None:
        """The best `most` trials so far, None if there are none."""
        records = with_predictions([*self.records, *self.paused.values()], self.summary)
        rows = rank(records, self.maximize)[:most]
        return ranking_table(rows, self.names, self.metric, width, self.curves) if rows else None

    def named(self, params: Mapping[str, object]) -> Mapping[str, object]:
        """What identifies a trial besides its number and its parameters."""
        return {}

    def text(self, params: Mapping[str, object]) -> str:
        """A trial's parameters."""
        return parameters_text(params, self.names)


def make_progress(
    names: Sequence[str],
    metric: Metric,
    maximize: bool,
    trials: int,
    epochs: int,
    workers: int,
    records: Sequence[TrialRecord],
) -> Progress:
    """Create the progress of a study, some of whose trials may have ended before."""
    ended = [record for record in records if record.state in ENDED]
    # After --trials was lowered, more trials may have ended than are planned.
    total = max(trials + sum(bool(record.imported) for record in ended), len(ended))
    paused = {record.number: record for record in records if record.state == State.PAUSED}
    return Progress(names, metric, maximize, total, epochs, workers, ended, paused=paused)


class ProgressView(Callback):
    """Keeps `Progress` current; the views add what they show."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    @override
    def on_trial_start(self, number: int, params: Mapping[str, object]) -> None:
        self.progress.running[number] = Running(params, time.monotonic())
        if self.progress.paused.pop(number, None) is None:
            self.progress.curves[number] = []
        self.progress.curves.setdefault(number, [])  # it was paused in an earlier run

    @override
    def on_report(self, report: Report) -> None:
        running = self.progress.running[report.number]
        running.report = report
        curve = self.progress.curves.setdefault(report.number, [])
        # A paused trial reports its last epoch again, or all of them if its checkpoint was removed.
        curve[:] = [point for point in curve if point[0] < report.epoch]
        curve.append((report.epoch, report.score))
        if report.anew:
            self._begun_anew(report)
        if not report.continues_after:
            self._validated(report)
        elif report.epoch == report.continues_after:  # the last of the earlier attempt
            self._continued(report)

    def _validated(self, report: Report) -> None:
        """Handle a new validation."""

    def _continued(self, report: Report) -> None:
        """Handle a trial that continues after this validation of an earlier attempt."""

    def _begun_anew(self, report: Report) -> None:
        """Handle a trial that restarted because its checkpoint could not be used."""

    @override
    def on_trial_end(self, record: TrialRecord) -> None:
        self.progress.running.pop(record.number, None)
        self.progress.records.append(record)

    @override
    def on_trial_paused(self, record: TrialRecord) -> None:
        self.progress.running.pop(record.number, None)
        self.progress.paused[record.number] = record

    @override
    def on_summary(self, summary: SearchSummary) -> None:
        self.progress.summary = summary

    @override
    def on_trial_requeued(self, number: int) -> None:
        self.progress.running.pop(number, None)

    @override
    def on_trial_lost(self, number: int) -> None:
        self.progress.running.pop(number, None)

    @override
    def on_trial_retry(self, number: int, attempt: int, reason: str) -> None:
        self.progress.running.pop(number, None)

    def _anew_text(self, report: Report) -> str:
        return f"{self.progress.word} {report.number} could not continue and restarted: {report.anew}"

    def _retrying_text(self, number: int, attempt: int, reason: str) -> str:
        return f"{self.progress.word} {number}: {reason}; retrying (attempt {attempt})"


class PlainView(ProgressView):
    """One line per event, for logs and pipes."""

    def __init__(self, progress: Progress, console: Console) -> None:
        super().__init__(progress)
        self._console = console

    @override
    def on_trial_start(self, number: int, params: Mapping[str, object]) -> None:
        super().on_trial_start(number, params)
        self._line(f"{self.progress.word} {number} started: {self.progress.text(params)}")

    @override
    def _continued(self, report: Report) -> None:
        self._line(f"{self.progress.word} {report.number} continues after epoch {report.epoch}")

    @override
    def _begun_anew(self, report: Report) -> None:
        self._line(self._anew_text(report))

    @override
    def _validated(self, report: Report) -> None:
        progress = self.progress
        epoch = seconds_text(report.seconds / report.epoch)
        self._line(
            f"{progress.word} {report.number} epoch {report.epoch}/{progress.epochs}: {progress.metric} "
            f"{progress.metric.text(report.score)}, loss {report.train_loss:.4f}, "
            f"{epoch} an epoch, elapsed {format_duration(report.seconds)}"
        )

    @override
    def on_trial_end(self, record: TrialRecord) -> None:
        super().on_trial_end(record)
        progress = self.progress
        detail = (
            record.error
            or f"best {progress.metric} {progress.metric.text(record.score)} at epoch {record.best_epoch}"
        )
        leader = f"; leading: {progress.leader()}" if progress.leader() else ""
        time_left = progress.time_left()
        remaining = f"; {time_left}" if time_left else ""
        self._line(
            f"{progress.word} {record.number} {record.state}: {detail} "
            f"({len(progress.records)}/{progress.trials} ended{leader}{remaining})"
        )

    @override
    def on_trial_paused(self, record: TrialRecord) -> None:
        super().on_trial_paused(record)
        score = self.progress.metric.text(record.score)
        self._line(f"{self.progress.word} {record.number} paused after epoch {record.epochs}: best {score}")

    @override
    def on_trial_requeued(self, number: int) -> None:
        super().on_trial_requeued(number)
        self._line(
            f"{self.progress.word} {number} interrupted: it is taken up again when the study continues"
        )

    @override
    def on_trial_retry(self, number: int, attempt: int, reason: str) -> None:
        super().on_trial_retry(number, attempt, reason)
        self._line(self._retrying_text(number, attempt, reason))

    def _line(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True, highlight=False)


class JsonView(ProgressView):
    """One JSON object per line on standard output."""

    @override
    def on_trial_start(self, number: int, params: Mapping[str, object]) -> None:
        super().on_trial_start(number, params)
        emit(
            {"event": "started", self.progress.word: number, **self.progress.named(params), "params": params}
        )

    @override
    def _continued(self, report: Report) -> None:
        emit({"event": "continues", self.progress.word: report.number, "after": report.epoch})

    @override
    def _begun_anew(self, report: Report) -> None:
        emit({"event": "restarted", self.progress.word: report.number, "reason": report.anew})

    @override
    def _validated(self, report: Report) -> None:
        emit(
            {
                "event": "reported",
                self.progress.word: report.number,
                "epoch": report.epoch,
                "score": report.score,
                "valid": report.metrics,
                "train_loss": report.train_loss,
                "seconds": round(report.seconds, 3),
            }
        )

    @override
    def on_trial_end(self, record: TrialRecord) -> None:
        super().on_trial_end(record)
        emit(
            {
                "event": "ended",
                self.progress.word: record.number,
                "state": record.state,
                "score": record.score,
                "epochs": record.epochs,
                "seconds": record.seconds,
                "error": record.error or None,
            }
        )

    @override
    def on_trial_paused(self, record: TrialRecord) -> None:
        super().on_trial_paused(record)
        emit(
            {
                "event": "paused",
                self.progress.word: record.number,
                "score": record.score,
                "epochs": record.epochs,
                "seconds": record.seconds,
            }
        )

    @override
    def on_trial_requeued(self, number: int) -> None:
        super().on_trial_requeued(number)
        emit({"event": "returned", self.progress.word: number})

    @override
    def on_trial_lost(self, number: int) -> None:
        super().on_trial_lost(number)
        emit({"event": "lost", self.progress.word: number})

    @override
    def on_trial_retry(self, number: int, attempt: int, reason: str) -> None:
        super().on_trial_retry(number, attempt, reason)
        emit({"event": "retrying", self.progress.word: number, "attempt": attempt, "reason": reason})


def emit(event: dict[str, Any]) -> None:
    """Write one JSON line; numbers that are not finite become null."""
    sys.stdout.write(json_text(event) + "\n")
    sys.stdout.flush()
