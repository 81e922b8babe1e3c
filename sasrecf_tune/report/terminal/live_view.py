"""The live view of a run on a terminal: the best trials, the running ones, and the overall progress."""

from __future__ import annotations

import time

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from sasrecf_tune.inputs.durations import format_duration
from sasrecf_tune.messages import Report
from sasrecf_tune.report.terminal.progress import Progress, ProgressView, Running
from sasrecf_tune.report.terminal.tables import sparkline
from sasrecf_tune.report.text import seconds_text
from sasrecf_tune.trials import State

# Characters. A narrower window has no room for the learning curves of the running trials.
_WIDE = 100
_CURVE_WIDTH = 20
# The other columns of their table, about; parameters that do not fit beside them are below it.
_NUMBERS_WIDTH = 56
_MOST_RANKED = 10


class LiveView(ProgressView):
    """The best trials, below them running trials with their learning curves, then the overall progress."""

    def __init__(self, progress: Progress, console: Console) -> None:
        super().__init__(progress)
        self._console = console
        self._live = Live(console=console, get_renderable=self.render, refresh_per_second=4, transient=True)

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    @override
    def _begun_anew(self, report: Report) -> None:
        self._console.print(Text(self._anew_text(report)))

    @override
    def on_trial_retry(self, number: int, attempt: int, reason: str) -> None:
        super().on_trial_retry(number, attempt, reason)
        self._console.print(Text(self._retrying_text(number, attempt, reason), style="yellow"))

    def render(self) -> RenderableType:
        """Return the view as it is now."""
        progress, width = self.progress, self._console.width
        longest = max((len(progress.text(each.params)) for each in progress.running.values()), default=0)
        below = width < max(_WIDE, _NUMBERS_WIDTH + _CURVE_WIDTH + longest)
        lines = 2 if below else 1
        # Less the header, two lines of totals, a line for what is left out, and empty lines.
        free = max(2, self._console.height - 6)
        fits = max(1, (free // 2 if progress.records else free) // lines)
        shown = sorted(progress.running.items())[:fits]
        table = self._best(free - lines * len(shown))
        parts: list[RenderableType] = [] if table is None else [table, Text("")]
        if shown:
            parts.append(self._running_table(shown, wide=width >= _WIDE, below=below))
        if below:
            parts += [self._parameters(number, running) for number, running in shown]
        if left_out := len(progress.running) - len(shown):
            parts.append(Text(f"... and {left_out} more running", style="dim"))
        return Group(*parts, self._total())

    def _best(self, room: int) -> RenderableType | None:
        """Return the table of the best trials, as many as `room` lines hold."""
        for most in range(_MOST_RANKED, 0, -1):
            table = self.progress.table(self._console.width, most)
            if table is None or len(self._console.render_lines(table)) <= room:
                return table
        return None

    def _parameters(self, number: int, running: Running) -> Text:
        text = f"{self.progress.word} {number}: {self.progress.text(running.params)}"
        return Text(text, style="dim", no_wrap=True, overflow="ellipsis")

    def _running_table(self, shown: list[tuple[int, Running]], wide: bool, below: bool) -> Table:
        progress = self.progress
        # Expanded, only the parameters give way where there is no room.
        table = Table(box=None, pad_edge=False, header_style="", expand=not below)
        for name in (progress.word, "epoch", str(progress.metric), "loss", "epoch takes", "elapsed"):
            table.add_column(name, justify="right", no_wrap=True)
        if wide:
            table.add_column("learning curve", no_wrap=True, width=_CURVE_WIDTH)
        if not below:
            table.add_column("parameters", no_wrap=True, overflow="ellipsis", ratio=1)
        for number, running in shown:
            report = running.report
            cells = [Text(str(number), style="cyan"), Text(f"{running.epoch}/{progress.epochs}")]
            if report:
                cells += [
                    Text(progress.metric.text(report.score), style="bold"),
                    Text(f"{report.train_loss:.4f}"),
                ]
                cells.append(Text(seconds_text(report.seconds / report.epoch)))
            else:
                cells += [Text("-", style="dim")] * 3
            cells.append(Text(format_duration(time.monotonic() - running.since), style="dim"))
            if wide:
                scores = [score for _, score in progress.curves[number]]
                cells.append(Text(sparkline(scores, _CURVE_WIDTH), style="cyan"))
            if not below:
                cells.append(Text(progress.text(running.params), style="dim"))
            table.add_row(*cells)
        return table

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
        bar = ProgressBar(
            total=max(1, progress.trials),
            completed=len(progress.records) + share,
            width=min(24, self._console.width // 6),
        )
        if progress.paused:
            counts[State.PAUSED] = len(progress.paused)
        states = ", ".join(f"{count} {state}" for state, count in counts.items())
        line = Table.grid(padding=(0, 1))
        line.add_row(bar, Text(f"{len(progress.records)}/{progress.trials} {progress.word}s: {states}"))
        times = [f"elapsed {format_duration(time.monotonic() - progress.since)}", progress.time_left()]
        if progress.summary is not None and progress.until:
            # In place of the time that all trials take: the search ends before.
            times[1] = f"expected regret {progress.summary.regret:.2f} (--until {progress.until:g})"
        return Group(line, Text(", ".join(filter(None, times)), style="dim"))
