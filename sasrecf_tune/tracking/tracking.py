"""Follows a search and posts what happens to the trackers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from typing_extensions import override

from sasrecf_tune.analysis.winner import Winner
from sasrecf_tune.messages import Report
from sasrecf_tune.search.callbacks import Callback
from sasrecf_tune.search.limits import Outcome
from sasrecf_tune.search.plan import Plan
from sasrecf_tune.search.study import TuneStudy
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.files import read_own
from sasrecf_tune.tracking.logged_states import LoggedStates
from sasrecf_tune.tracking.run_logs import EpochLog, StateChange, StudyLog, TrialLog
from sasrecf_tune.tracking.sender import Sender
from sasrecf_tune.tracking.trackers import tracker_factory
from sasrecf_tune.tracking.trial_logs import curve_values, read_trial, study_log_id
from sasrecf_tune.trials import ENDED, LISTED, State, TrialRecord

# User attribute of the study, with the name of a tracker: which coordinator makes what all of them share.
_CREATOR = "sasrecf_tune:log_creator:"
# How long the end of a run waits for trackers.
_CLOSE_SECONDS = 60.0
# The same of a run that was interrupted: the system may kill it soon.
_HURRY_SECONDS = 5.0
# What a message names of that which could not be sent.
_MOST_NAMED = 5


class Tracking(Callback):
    """Logs the trials of this run, and those that earlier runs could not, to the trackers of `--log`.

    Use it as a context manager around the search.

    Args:
        plan: The plan, whose settings name the trackers.
        study: The study.
        study_dir: Its directory.
        say: Shows a message to the user.
    """

    def __init__(
        self,
        plan: Plan,
        study: TuneStudy,
        study_dir: StudyDirectory,
        say: Callable[[str], None],
    ) -> None:
        self._study = study
        self._study_dir = study_dir
        self._say = say
        self._metric = str(plan.settings.metric).lower()
        self._trials: dict[int, TrialLog] = {}  # that this run trains
        self._senders: list[Sender] = []
        names = list(dict.fromkeys(plan.settings.log))
        if not names:
            return
        study_id = study_log_id(study)
        alone = not study.peers.list_peers()
        settings, shared = _settings(plan), study.peers.shared
        self._log = StudyLog(study_id, study_dir.name, self._metric, settings, shared=shared)
        logged = LoggedStates(study_dir.logged)
        self._senders = [
            Sender(
                name, tracker_factory(name, self._log, study_dir, study.peers.claim(_CREATOR + name)), logged
            )
            for name in names
        ]
        if alone:  # else those who train the trials may be sending them
            self._catch_up()

    def __enter__(self) -> Tracking:
        return self

    def __exit__(self, *_: object) -> None:
        self._close(_HURRY_SECONDS)

    @override
    def on_trial_start(self, number: int, params: Mapping[str, object]) -> None:
        if self._senders:
            # Another coordinator may have trained it since it was here.
            known = None if self._log.shared else self._trials.get(number)
            known = known or read_trial(self._study, number, self._metric)
            self._change(replace(known, ended=None, params=known.params or params), State.RUNNING)

    @override
    def on_report(self, report: Report) -> None:
        log = self._trials.get(report.number)
        if log is None:
            return
        epochs = {one.epoch: one for one in log.epochs}
        known = epochs.get(report.epoch)
        if known is None or not known.complete:  # else an attempt repeats those of an earlier one
            values = curve_values(report.metrics, report.train_loss)
            epochs[report.epoch] = EpochLog(report.epoch, values, time.time())
            self._post(replace(log, epochs=tuple(epochs[number] for number in sorted(epochs))))

    @override
    def on_trial_end(self, record: TrialRecord) -> None:
        self._settle(record)
        self._trials.pop(record.number, None)

    @override
    def on_trial_paused(self, record: TrialRecord) -> None:
        self._settle(record)

    @override
    def on_trial_requeued(self, number: int) -> None:
        if number in self._trials:
            self._change(self._trials[number], State.WAITING)

    @override
    def on_trial_retry(self, number: int, attempt: int, reason: str) -> None:
        self.on_trial_requeued(number)

    @override
    def on_trial_lost(self, number: int) -> None:
        self._trials.pop(number, None)
        for sender in self._senders:
            sender.drop(number)

    @override
    def on_tick(self) -> None:
        for sender in self._senders:
            for message in sender.take_messages():
                self._say(message)

    def finish(
        self, records: Sequence[TrialRecord], winner: Winner | None, outcome: Outcome, last: bool
    ) -> None:
        """Attach the results, and wait until the trackers have everything.

        Args:
            records: All trials of the study.
            winner: What best.yaml reproduces.
            outcome: How the search ended.
            last: Whether no other run works on the study; if one does, it attaches the results.
        """
        if last and self._senders:
            self._catch_up()
            log = replace(
                self._log,
                ended=not outcome.interrupted,
                trials=Counter(str(record.state) for record in records),
                best=_best(winner),
                files=tuple(self._files()),
                ranking=self._ranking(),
            )
            for sender in self._senders:
                sender.post_study(log)
        self._close(_HURRY_SECONDS if outcome.interrupted else _CLOSE_SECONDS)

    def _catch_up(self) -> None:
        """Post what earlier runs, or this one, may not have sent; senders leave out what is known."""
        for record in self._study.records():
            if record.state in LISTED:
                log = read_trial(self._study, record.number, self._metric)
                for sender in self._senders:
                    sender.post_if_idle(log)

    def _settle(self, record: TrialRecord) -> None:
        log = self._trials.get(record.number)
        if log is None:  # another run has trained it
            return
        # By now the database has the values that a report of an earlier run lacks here.
        stored = read_trial(self._study, record.number, self._metric)
        recorded = {epoch.epoch: epoch for epoch in stored.epochs}
        recorded |= {epoch.epoch: epoch for epoch in log.epochs if epoch.complete}
        epochs = tuple(recorded[number] for number in sorted(recorded))
        ended = time.time() if record.state in ENDED else None
        self._change(replace(log, epochs=epochs, record=record, ended=ended), record.state)

    def _change(self, log: TrialLog, state: State) -> None:
        change = StateChange(state, log.last_epoch, time.time())
        self._post(replace(log, state=state, changes=(*log.changes, change)))

    def _post(self, log: TrialLog) -> None:
        self._trials[log.number] = log
        for sender in self._senders:
            sender.post(log)

    def _close(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        senders, self._senders = self._senders, []
        left = {sender.name: sender.close(max(0.1, until - time.monotonic())) for sender in senders}
        for sender in senders:
            for message in sender.take_messages():
                self._say(message)
            if missing := left[sender.name]:
                more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
                self._say(
                    f"{sender.name} does not have {', '.join(missing[:_MOST_NAMED])}{more} yet; "
                    f"`sasrecf-tune resume {self._study_dir.arguments}` tries again"
                )

    def _files(self) -> list[Path]:
        found = self._study_dir
        results = [found.report, found.best, found.ranking_csv, found.trials, found.confirmation_md]
        return [file for file in [*results, found.manifest] if file.is_file()]

    def _ranking(self) -> str:
        with suppress(OSError, UnicodeError):
            return read_own(self._study_dir.ranking_md)
        return ""


def _settings(plan: Plan) -> dict[str, Any]:
    """What a study was started with, for trackers."""
    settings = plan.settings
    return {
        "model": settings.model,
        "dataset": settings.dataset,
        "metric": str(settings.metric),
        "engine": settings.engine,
        "sampler": plan.sampler,
        "pruner": plan.pruner.name,
        "trials": plan.trials,
        "seed": settings.seed,
        "device": plan.data.device,
        "params_file": settings.params_file.name,
    } | {f"config/{key}": value for key, value in plan.fixed.items()}


def _best(winner: Winner | None) -> dict[str, Any]:
    if winner is None:
        return {}
    found = {"trial": winner.trial, "score": winner.record.score}
    return found | {f"param/{name}": value for name, value in winner.record.params.items()}
