"""The progress of a run: a live view on a terminal, a plain line per event, or JSON lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from sasrecf_tune.inputs.metrics import Metric
from sasrecf_tune.inputs.settings import format_duration
from sasrecf_tune.messages import Report
from sasrecf_tune.report.terminal.tables import ranking_table, sparkline
from sasrecf_tune.report.text import json_text, parameters_text
from sasrecf_tune.search.callbacks import Callback
from sasrecf_tune.trials import ENDED, State, TrialRecord, best, rank


@dataclass
class _Running:
    params: Mapping[str, object]
    since: float
    scores: list[float] = field(default_factory=list)
    epoch: int = 0


@dataclass
class Progress:
    """The state that every view shows.

    Args:
        trials: Trials of the study in total.
        epochs: Maximum epochs of a trial.
        before: Trials that had ended before this run.
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
    running: dict[int, _Running] = field(default_factory=dict)
    before: int = 0
    since: float = field(default_factory=time.monotonic)
    word: str = "trial"
    always_counted: Sequence[str] = (State.COMPLETE, State.PRUNED)

    @property
    def left(self) -> int:
        """Trials that have not ended."""
        return max(0, self.trials - len(self.records))

    def eta(self) -> float | None:
        """Estimate the seconds until all trials have ended; None before the first of this run has."""
        finished = len(self.records) - self.before
        if finished <= 0:
            return None
        return (time.monotonic() - self.since) / finished * self.left

    def leader(self) -> str:
        """The best completed trial so far, "" if there is none."""
        top = best(self.records, self.maximize)
        return f"trial {top.number} with {self.metric.text(top.score)}" if top else ""

    def table(self, width: int, most: int) -> RenderableType | None:
        """The best `most` trials so far, None if there are none."""
        rows = rank(self.records, self.maximize)[:most]
        return ranking_table(rows, self.names, self.metric, width) if rows else None

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
    total = max(trials, len(ended))
    return Progress(names, metric, maximize, total, epochs, workers, ended, before=len(ended))


class _Base(Callback):
    """Keeps `Progress` current; the views add what they show."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    @override
    def on_trial_start(self, number: int, params: Mapping[str, object]) -> None:
        self.progress.running[number] = _Running(params, time.monotonic())

    @override
    def on_report(self, report: Report) -> None:
        running = self.progress.running[report.number]
        running.scores.append(report.score)
        running.epoch = report.epoch
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
    def on_trial_requeued(self, number: int) -> None:
        self.progress.running.pop(number, None)

    @override
    def on_trial_lost(self, number: int) -> None:
        self.progress.running.pop(number, None)

    @override
    def on_trial_retry(self, number: int, attempt: int, reason: str) -> None:
        self.progress.running.pop(number, None)

    def _continues_text(self, report: Report) -> str:
        return f"{self.progress.word} {report.number} continues after epoch {report.epoch}"

    def _anew_text(self, report: Report) -> str:
        return f"{self.progress.word} {report.number} could not continue and restarted: {report.anew}"

    def _retrying_text(self, number: int, attempt: int, reason: str) -> str:
        return f"{self.progress.word} {number}: {reason}; retrying (attempt {attempt})"


class PlainView(_Base):
    """One line per event, for logs and pipes."""

    def __init__(self, progress: Progress, console: Console) -> None:
        super().__init__(progress)
        self._console = console

    @override
    def on_trial_start(self, number: int, params: Mapping[str, object]) -> None:
        super().on_trial_start(number, params)
        self._line(f"{self.progress.word} {number} started: {self.progress.text(params)}")

    def _continued(self, report: Report) -> None:
        self._line(self._continues_text(report))

    def _begun_anew(self, report: Report) -> None:
        self._line(self._anew_text(report))

    def _validated(self, report: Report) -> None:
        progress = self.progress
        self._line(
            f"{progress.word} {report.number} epoch {report.epoch}/{progress.epochs}: {progress.metric} "
            f"{progress.metric.text(report.score)}, loss {report.train_loss:.4f}, "
            f"{format_duration(report.seconds)} since its start"
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
        eta = progress.eta()
        remaining = f"; about {format_duration(eta)} left" if eta and progress.left else ""
        self._line(
            f"{progress.word} {record.number} {record.state}: {detail} "
            f"({len(progress.records)}/{progress.trials} ended{leader}{remaining})"
        )

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


class JsonView(_Base):
    """One JSON object per line on standard output."""

    @override
    def on_trial_start(self, number: int, params: Mapping[str, object]) -> None:
        super().on_trial_start(number, params)
        emit(
            {"event": "started", self.progress.word: number, **self.progress.named(params), "params": params}
        )

    def _continued(self, report: Report) -> None:
        emit({"event": "continues", self.progress.word: report.number, "after": report.epoch})

    def _begun_anew(self, report: Report) -> None:
        emit({"event": "restarted", self.progress.word: report.number, "reason": report.anew})

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


class LiveView(_Base):
    """The best trials, below them running trials with their learning curves, then the overall progress."""

    def __init__(self, progress: Progress, console: Console) -> None:
        super().__init__(progress)
        self._console = console
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def _continued(self, report: Report) -> None:
        self._console.print(Text(self._continues_text(report)))

    def _begun_anew(self, report: Report) -> None:
        self._console.print(Text(self._anew_text(report)))

    @override
    def on_trial_retry(self, number: int, attempt: int, reason: str) -> None:
        super().on_trial_retry(number, attempt, reason)
        self._console.print(Text(self._retrying_text(number, attempt, reason), style="yellow"))

    def _render(self) -> RenderableType:
        progress = self.progress
        room = max(3, self._console.height - 8 - 2 * len(progress.running))
        table = progress.table(self._console.width, min(10, room))
        parts: list[RenderableType] = [] if table is None else [table, Text("")]
        parts += [self._running_line(number, running) for number, running in sorted(progress.running.items())]
        return Group(*parts, self._total())

    def _running_line(self, number: int, running: _Running) -> RenderableType:
        progress = self.progress
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(f"{progress.word} {number} ", style="cyan")
        line.append(f"epoch {running.epoch}/{progress.epochs} " if running.epoch else "in its first epoch ")
        if running.scores:
            line.append(sparkline(running.scores) + " ", style="cyan")
            line.append(f"{progress.metric.text(running.scores[-1])} ")
        line.append(format_duration(time.monotonic() - running.since) + "  ", style="dim")
        line.append(progress.text(running.params), style="dim")
        return line

    def _total(self) -> RenderableType:
        progress = self.progress
        # 80 columns have no room for "0 failed".
        counts = {
            state: count
            for state in (State.COMPLETE, State.PRUNED, State.FAILED)
            if (count := sum(r.state == state for r in progress.records)) or state in progress.always_counted
        }
        # A running trial counts with the share of its epochs.
        share = sum(running.epoch / progress.epochs for running in progress.running.values())
        line = Table.grid(padding=(0, 1))
        eta = progress.eta()
        line.add_row(
            ProgressBar(total=max(1, progress.trials), completed=len(progress.records) + share, width=24),
            Text(
                f"{len(progress.records)}/{progress.trials} {progress.word}s: "
                + ", ".join(f"{count} {state}" for state, count in counts.items())
            ),
            Text(f"about {format_duration(eta)} left" if eta and progress.left else "", style="dim"),
        )
        return line


def emit(event: dict[str, Any]) -> None:
    """Write one JSON line; numbers that are not finite become null."""
    sys.stdout.write(json_text(event) + "\n")
    sys.stdout.flush()
