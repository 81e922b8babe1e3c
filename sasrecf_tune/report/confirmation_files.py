"""The result files of a confirmation."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from sasrecf_tune.analysis.confirmation import best_run, rank_confirmed
from sasrecf_tune.analysis.winner import pick_winner
from sasrecf_tune.report.formats.best_yaml import best_yaml
from sasrecf_tune.report.formats.confirmation import all_runs, confirmation_csv, confirmation_markdown
from sasrecf_tune.report.study_files import drop_checkpoints
from sasrecf_tune.search.callbacks import Callback
from sasrecf_tune.search.confirmation_study import PlannedConfirmation
from sasrecf_tune.search.plan import Plan
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.files import atomic_write
from sasrecf_tune.trials import TrialRecord


class ConfirmationFiles(Callback):
    """Writes confirmation.csv and confirmation.md, and best.yaml when all runs have ended.

    Args:
        plan: The plan of the search.
        trials: Trials of the search.
    """

    def __init__(
        self,
        study_dir: StudyDirectory,
        plan: Plan,
        planned: PlannedConfirmation,
        trials: Sequence[TrialRecord],
    ) -> None:
        self._study_dir = study_dir
        self._plan = plan
        self._planned = planned
        self._trials = trials
        self._write()

    @override
    def on_trial_end(self, record: TrialRecord) -> None:
        self._write()

    def finish(self) -> None:
        """Write best.yaml after all runs have ended."""
        settings = self._plan.settings
        winner = pick_winner(self._trials, self._planned.now(), self._planned.study.maximize, settings.unit)
        if winner is not None:
            atomic_write(self._study_dir.best, best_yaml(winner, settings, self._plan.space))
        self._drop_checkpoints(
            [] if winner is None or winner.confirmation is None else [winner.record.number]
        )

    def _write(self) -> None:
        planned, plan = self._planned, self._plan
        settings, names = plan.settings, plan.space.names
        now = planned.now()
        runs = all_runs(planned.runs(), planned.asked, self._trials)
        tests = planned.study.test_metrics()
        atomic_write(
            self._study_dir.confirmation_csv, confirmation_csv(runs, tests, names, plan.data.metric_keys)
        )
        verdict = rank_confirmed(now, planned.study.maximize, settings.unit)
        atomic_write(
            self._study_dir.confirmation_md, confirmation_markdown(now, verdict, names, settings.metric)
        )
        # Any configuration may win. Until then best.yaml holds the winner of the previous confirmation.
        best = [
            best_run(confirmation, trial, planned.study.maximize)
            for confirmation in (now, planned.before)
            if confirmation is not None
            for trial in confirmation.configurations
        ]
        self._drop_checkpoints([run.number for run in best if run is not None])

    def _drop_checkpoints(self, kept: Sequence[int]) -> None:
        ended = [record.number for record in self._planned.runs()]
        drop_checkpoints(self._study_dir.confirmation, ended, kept)
