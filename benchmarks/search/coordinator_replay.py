"""Replays samplers and pruners through the coordinator and study of a real search, one trial at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from optuna.storages import InMemoryStorage
from typing_extensions import override

from benchmarks.search.cell_index import CellIndex
from benchmarks.search.curve_table import METRIC, Table
from benchmarks.search.instant_training import fake_data_summary, report_scores
from benchmarks.search.simulator import Choice, Play
from sasrecf_tune.executors.inline import InlineExecutor
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.inputs.settings import Pruner, RunSettings, Sampler, SearchSettings
from sasrecf_tune.messages import Decision, Job, Report, Result
from sasrecf_tune.search.callbacks import Callback
from sasrecf_tune.search.coordinator import Coordinator
from sasrecf_tune.search.plan import base_config, make_plan
from sasrecf_tune.search.study_setup import planned_study
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.trials import State, TrialRecord


class ReplayedTraining:
    """Replaces training: reports the recorded curve of a cell with its seed at index 0."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.index = CellIndex(table)
        self.epochs = 0
        self.seconds = 0.0

    def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result:
        """Report the recorded scores, as `Runner.train` does, and count epochs and seconds."""
        cell = self.index.find(job.config)
        length = int(self._table.lengths[cell, 0])

        def counted(report: Report) -> Decision:
            self.epochs += 1
            self.seconds += float(self._table.epoch_seconds[cell])
            return on_report(report)

        return report_scores(job, map(float, self._table.valid[cell, 0, :length]), counted)


@dataclass
class BestSoFar(Callback):
    """Records the best trial at each time."""

    training: ReplayedTraining
    choices: list[Choice] = field(default_factory=list)
    best: float = -np.inf

    @override
    def on_trial_end(self, record: TrialRecord) -> None:
        if record.state == State.COMPLETE and record.score is not None and record.score > self.best:
            self.best = record.score
            self.note(self.training.index.find(record.params))

    def note(self, cell: int | None) -> None:
        """Record that `cell` is the choice from now on."""
        self.choices.append(Choice(self.training.epochs, self.training.seconds, cell, 0))


def replay(table: Table, sampler: Sampler, pruner: Pruner, seed: int) -> Play:
    """Run a search that sees each cell's seed at index 0, of as many trials as the table has cells."""
    training = ReplayedTraining(table)
    settings = RunSettings(
        params_file=Path("hyper.test"),
        name="replay",
        out=Path("none"),
        dataset="replay",
        base={},
        metric=parse_metric(METRIC),
        seed=seed,
        search=SearchSettings(sampler, pruner, len(table.cells)),
    )
    base: dict[str, Any] = base_config(settings, table.space)
    study_dir = StudyDirectory(Path("replay"))
    plan = make_plan(settings, table.space, base, fake_data_summary(table.epochs))
    study = planned_study(plan, study_dir, InMemoryStorage())
    best = BestSoFar(training)
    executor = InlineExecutor(training.train, lambda _: fake_data_summary(table.epochs))
    Coordinator(plan, study, study_dir, executor, [best]).run()
    best.note(best.choices[-1].cell if best.choices else None)
    return Play(
        choices=best.choices,
        epochs=training.epochs,
        seconds=training.seconds,
        finished=True,
        reason="",
        trials=len(table.cells),
        resumed=0,
    )
