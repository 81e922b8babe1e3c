"""Weights & Biases: a run for each trial and one for the study, in a group, with ids from the study's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import wandb
from typing_extensions import override

from sasrecf_tune.tracking.run_logs import StudyLog, Tracker, TrialLog, flat_params
from sasrecf_tune.trials import ENDED, State

_PROJECT = "sasrecf-tune"
# How long the start of a run may wait for the server; W&B's own limit is 90 seconds.
_INIT_SECONDS = 30.0


def accepts_settings() -> bool:
    """Whether W&B can read its environment variables and settings files."""
    try:
        wandb.setup()
    except (ValueError, wandb.Error):  # pydantic's errors are the former
        return False
    return True


def is_offline() -> bool:
    """Whether W&B is told to write to this disk only."""
    mode = os.environ.get("WANDB_MODE") or wandb.setup().settings.mode
    return mode in ("offline", "dryrun", "disabled")


def has_api_key() -> bool:
    """Whether W&B knows whose runs these are."""
    return bool(wandb.api.api_key)


class WandbRuns(Tracker):
    """Writes to the project that W&B's own environment variables and login name.

    Offline, a run cannot be continued: it is written again as a whole, under the same id.

    Args:
        study: The study.
    """

    name = "wandb"

    def __init__(self, study: StudyLog) -> None:
        self._study = study
        self._project = os.environ.get("WANDB_PROJECT") or _PROJECT
        self._settings = wandb.Settings(
            console="off",
            silent=True,  # else it writes into the live view
            init_timeout=_INIT_SECONDS,
            disable_git=True,
            save_code=False,
            # Of the coordinator, which trains nothing; and its command line may have a password.
            x_disable_stats=True,
            x_disable_meta=True,
        )
        self._offline = is_offline()
        entity = os.environ.get("WANDB_ENTITY", "")
        self.place = "offline" if self._offline else f"{entity}/{self._project}"
        self._runs: dict[str, wandb.Run] = {}
        self._sent: dict[str, int] = {}  # the last epoch, by run
        self._earlier: dict[str, str] = {}  # the states that an earlier coordinator has told

    @override
    def write_trial(self, log: TrialLog) -> None:
        run = self._open(log.name, "trial", flat_params(log.params))
        sent = self._sent[log.name]
        for epoch in log.values:
            if epoch.epoch > sent:
                run.log({**epoch.values, "epoch": epoch.epoch}, step=epoch.epoch, commit=True)
                self._sent[log.name] = epoch.epoch
        states = log.states(self._earlier[log.name])
        run.summary.update({**log.results, "state": str(log.state), "states": states})
        if log.error:
            run.notes = log.error
        # Several processes may not have a run open: a trial that waits or is paused may go on in another one.
        if log.state in ENDED or (self._study.shared and log.state != State.RUNNING):
            self._finish(log.name, failed=log.state == State.FAILED)

    @override
    def write_study(self, log: StudyLog) -> None:
        run = self._open("study", "study", flat_params(log.settings))
        counts = {f"trials/{state}": count for state, count in log.trials.items()}
        best = {f"best/{name}": value for name, value in flat_params(log.best).items()}
        run.summary.update({**counts, **best, "state": log.state})
        run.notes = log.ranking
        artifact = wandb.Artifact(f"{self._study.name[:80]}-{self._study.id}", type="study")
        for file in log.files:
            artifact.add_file(str(file), policy="immutable")
        run.log_artifact(artifact)
        for file in log.files:
            if file.suffix == ".html":
                run.log({"report": wandb.Html(file.read_text(encoding="utf-8"))})
        self._finish("study")

    @override
    def close(self) -> None:
        for name in list(self._runs):
            self._finish(name)

    def _open(self, name: str, kind: str, config: Mapping[str, Any]) -> wandb.Run:
        if name not in self._runs:
            run = wandb.init(
                project=self._project,
                id=f"{self._study.id}-{name}",
                name=name,
                group=self._study.name,
                job_type=kind,
                config=dict(config) | {"study": self._study.name},
                resume=None if self._offline else "allow",
                reinit="create_new",  # runs of several trials are open at once
                settings=self._settings,
            )
            self._runs[name] = run
            # The step that comes next: 0 in a new run, and epochs count from 1.
            self._sent[name] = run.step - 1 if run.resumed else 0
            self._earlier[name] = str(run.summary.get("states") or "") if run.resumed else ""
        return self._runs[name]

    def _finish(self, name: str, failed: bool = False) -> None:
        self._runs.pop(name).finish(exit_code=int(failed))
