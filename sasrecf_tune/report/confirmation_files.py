"""Keeps the files of a confirmation up to date as its runs end."""

from __future__ import annotations

from collections.abc import Sequence

from sasrecf_tune.analysis.confirmation import best_run, rank_confirmed
from sasrecf_tune.analysis.winner import pick_winner
from sasrecf_tune.report.formats.best_yaml import chosen_yaml
from sasrecf_tune.report.formats.confirmation import all_runs, confirmation_csv, confirmation_markdown
from sasrecf_tune.report.study_files import drop_checkpoints
from sasrecf_tune.search.callbacks import Callback
from sasrecf_tune.search.confirmation_study import PlannedConfirmation
from sasrecf_tune.search.plan import Plan
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.files import atomic_write
from sasrecf_tune.trials import TrialRecord


class ConfirmationFiles(Callback):
    """An observer that writes confirmation.csv and confirmation.md, and best.yaml when all runs have ended.

    They are short, and written anew each time. `plan` and `trials` are the search's.
    """

    def __init__(
        self,
        study_dir: StudyDirectory,
        plan: Plan,
        planned: PlannedConfirmation,
        trials: Sequence[TrialRecord],
    ) -> None:
        self._layout = study_dir
        self._plan = plan
        self._planned = planned
        self._trials = trials
        self._write()

    def on_trial_end(self, record: TrialRecord) -> None:
        """See `Callback`."""
        self._write()

    def finish(self) -> None:
        """All runs have ended: best.yaml is now the confirmed one."""
        settings = self._plan.settings
        whole = self._planned.now()
        chosen = pick_winner(self._trials, whole, self._planned.study.maximize, settings.unit)
        if chosen is not None:
            atomic_write(self._layout.best, chosen_yaml(chosen, settings, self._plan.space))
        self._drop_checkpoints(
            [] if chosen is None or chosen.confirmation is None else [chosen.record.number]
        )

    def _write(self) -> None:
        planned, plan = self._planned, self._plan
        settings, names = plan.settings, plan.space.names
        now = planned.now()
        runs = all_runs(planned.runs(), planned.asked, self._trials)
        tests = planned.study.test_metrics()
        atomic_write(
            self._layout.confirmation_csv, confirmation_csv(runs, tests, names, plan.data.metric_keys)
        )
        verdict = rank_confirmed(now, planned.study.maximize, settings.unit)
        atomic_write(
            self._layout.confirmation_md, confirmation_markdown(now, verdict, names, str(settings.metric))
        )
        # Any of them may come first in the end; the one that did the last time is in best.yaml until then.
        best = [
            best_run(confirmation, trial, planned.study.maximize)
            for confirmation in (now, planned.before)
            if confirmation is not None
            for trial in confirmation.configurations
        ]
        self._drop_checkpoints([run.number for run in best if run is not None])

    def _drop_checkpoints(self, kept: Sequence[int]) -> None:
        ended = [record.number for record in self._planned.runs()]
        drop_checkpoints(self._layout.confirmation, ended, kept)
