"""MLflow: a run for the study, and in it a run for each trial, found again by their tags."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from typing_extensions import override

from sasrecf_tune.storage.url_masking import mask_address, mask_message
from sasrecf_tune.tracking.run_logs import StateChange, StudyLog, Tracker, TrialLog, flat_params
from sasrecf_tune.trials import ENDED, State

_EXPERIMENT = "sasrecf-tune"
_STUDY_TAG, _TRIAL_TAG, _STATE_TAG = "sasrecf_tune.study", "sasrecf_tune.trial", "sasrecf_tune.state"
_STATES_TAG = "sasrecf_tune.states"
_STUDY_RUN = "study"  # value of _TRIAL_TAG
# The states of MLflow's runs that come closest.
_STATUS = {
    State.COMPLETE: "FINISHED",
    State.PRUNED: "KILLED",
    State.PAUSED: "SCHEDULED",
    State.FAILED: "FAILED",
    State.RUNNING: "RUNNING",
    State.WAITING: "SCHEDULED",
}
# MLflow refuses longer requests and values.
_MOST_METRICS = 1000
_MOST_PARAMS = 100
_LONGEST_PARAM = 6000
_LONGEST_TAG = 5000
# How long a coordinator waits for the run of the study that another one makes.
_WAIT_SECONDS = 30.0
# A request that is not answered is made again by the sender; MLflow itself would try for minutes.
# It would also print addresses of runs to standard output, between the lines of --json.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_NOT_IN_NAMES = re.compile(r"[^\w./ -]")


class MlflowRuns(Tracker):
    """Writes to the server or the database that MLflow's own environment variables name.

    Args:
        study: The study.
        creates: Whether the study's run is made at once if it is missing; else another coordinator makes it.
    """

    name = "mlflow"

    def __init__(self, study: StudyLog, creates: bool) -> None:
        self._own_variables = [name for name in _ENVIRONMENT if name not in os.environ]
        os.environ.update({name: _ENVIRONMENT[name] for name in self._own_variables})
        for logger in ("mlflow", "alembic", "urllib3"):  # they write about tables and retries into the view
            logging.getLogger(logger).setLevel(logging.ERROR)
        self._study = study
        self._creates = creates
        self._address = str(mlflow.get_tracking_uri())
        experiment = os.environ.get("MLFLOW_EXPERIMENT_ID") or os.environ.get("MLFLOW_EXPERIMENT_NAME")
        self._experiment = experiment or _EXPERIMENT
        place = mask_address(self._address) if "://" in self._address else self._address
        self.place = f"{place} {self._experiment}"
        with self._masked_errors():
            self._client = MlflowClient()
        self._experiment_id = ""
        self._parent = ""
        self._runs: dict[int, str] = {}
        self._sent: dict[str, int] = {}  # the last epoch, by run
        self._results: dict[str, dict[str, float]] = {}  # about the whole trial, by run
        self._earlier: dict[str, str] = {}  # the states that an earlier coordinator has told
        self._state: dict[str, str] = {}  # the state that was read last, by run
        self._taken: dict[int, tuple[StateChange, ...]] = {}  # when a trial came to this coordinator

    @override
    def write_trial(self, log: TrialLog) -> None:
        with self._masked_errors():
            run = self._runs.get(log.number)
            if run is None or self._taken[log.number] != log.changes[:1]:
                run = self._attach(log)
            elif self._study.shared:
                # Another coordinator may continue the trial already, with the epochs that are due here.
                self._sent[run] = self._last_step(run)
                self._state[run] = self._client.get_run(run).data.tags.get(_STATE_TAG, "")
            self._send_epochs(run, log)
            if self._study.shared and log.is_outdated(self._state[run], self._sent[run]):
                return
            tags = {_STATE_TAG: str(log.state), _STATES_TAG: log.states(self._earlier[run])}
            if log.error:
                tags["mlflow.note.content"] = log.error
            last = log.last_time
            known = self._results[run]
            changed = {key: value for key, value in log.results.items() if known.get(_key(key)) != value}
            self._set(run, changed, tags, log.last_epoch, last)
            known |= {_key(key): value for key, value in changed.items()}
            self._set_status(run, _STATUS[log.state], last if log.state in ENDED else None)

    @override
    def write_study(self, log: StudyLog) -> None:
        with self._masked_errors():
            self._study = log
            run = self._study_run()
            numbers = {f"trials/{state}": float(count) for state, count in log.trials.items()}
            if "score" in log.best:
                numbers["best/score"] = float(log.best["score"])
            tags = {f"best/{name}": str(value) for name, value in log.best.items()}
            tags |= {"mlflow.note.content": log.ranking, _STATE_TAG: log.state}
            self._set(run, numbers, tags, sum(log.trials.values()), time.time())
            for file in log.files:
                self._client.log_artifact(run, str(file))
            status = {None: "RUNNING", True: "FINISHED", False: "SCHEDULED"}[log.ended]
            self._set_status(run, status, time.time() if log.ended else None)

    @override
    def close(self) -> None:
        for name in self._own_variables:
            os.environ.pop(name, None)

    def _attach(self, log: TrialLog) -> str:
        """Find or create the run of a trial, and what it has already."""
        parent = self._study_run()
        found = self._find(str(log.number))
        if found is None:
            tags = {"mlflow.parentRunId": parent}
            run = self._create(str(log.number), log.name, tags, log.started)
        else:
            run = found.info.run_id
            self._sent[run] = self._last_step(run)
        self._results[run] = {} if found is None else dict(found.data.metrics)
        self._earlier[run] = "" if found is None else found.data.tags.get(_STATES_TAG, "")
        self._state[run] = "" if found is None else found.data.tags.get(_STATE_TAG, "")
        self._set_params(run, flat_params(log.params), found)
        self._runs[log.number], self._taken[log.number] = run, log.changes[:1]
        return run

    def _study_run(self) -> str:
        if not self._parent:
            until = time.monotonic() + _WAIT_SECONDS
            found = self._find(_STUDY_RUN)
            while found is None and not self._creates and time.monotonic() < until:
                time.sleep(1.0)
                found = self._find(_STUDY_RUN)
            if found is None:
                self._parent = self._create(_STUDY_RUN, self._study.name, {}, time.time())
            else:
                self._parent = str(found.info.run_id)
            self._set_params(self._parent, flat_params(self._study.settings), found)
            if self._creates or found is None:  # else the last coordinator may have ended it by now
                self._set_status(self._parent, "RUNNING", None)
        return self._parent

    def _experiment_of_runs(self) -> str:
        if not self._experiment_id:
            if os.environ.get("MLFLOW_EXPERIMENT_ID"):
                self._experiment_id = self._experiment
                return self._experiment_id
            found = self._client.get_experiment_by_name(self._experiment)
            if found is None:
                try:
                    self._experiment_id = self._client.create_experiment(self._experiment)
                    return self._experiment_id
                except Exception:
                    # Another run may have created it just now.
                    found = self._client.get_experiment_by_name(self._experiment)
                    if found is None:
                        raise
            self._experiment_id = str(found.experiment_id)
        return self._experiment_id

    def _find(self, trial: str) -> Run | None:
        query = f"tags.`{_STUDY_TAG}` = '{self._study.id}' and tags.`{_TRIAL_TAG}` = '{trial}'"
        runs = self._client.search_runs(
            [self._experiment_of_runs()], query, max_results=1, order_by=["attributes.start_time ASC"]
        )
        return runs[0] if runs else None

    def _create(self, trial: str, name: str, tags: Mapping[str, str], started: float) -> str:
        tags = {_STUDY_TAG: self._study.id, _TRIAL_TAG: trial, "mlflow.source.name": "sasrecf-tune", **tags}
        run = self._client.create_run(
            self._experiment_of_runs(), start_time=_milliseconds(started), tags=dict(tags), run_name=name
        )
        return str(run.info.run_id)

    def _last_step(self, run: str) -> int:
        """The last epoch that a run has; 0 for none."""
        curve = self._client.get_metric_history(run, _key(f"valid/{self._study.metric}"))
        return max((int(metric.step) for metric in curve), default=0)

    def _send_epochs(self, run: str, log: TrialLog) -> None:
        batch: list[Metric] = []
        sent = self._sent.get(run, 0)
        for epoch in log.values:
            if epoch.epoch <= sent:
                continue
            if len(batch) + len(epoch.values) > _MOST_METRICS:
                self._client.log_batch(run, metrics=batch)
                batch = []
            time_of = _milliseconds(epoch.time)
            batch += [Metric(_key(key), value, time_of, epoch.epoch) for key, value in epoch.values.items()]
        if batch:
            self._client.log_batch(run, metrics=batch)
        self._sent[run] = max(sent, log.values[-1].epoch if log.values else 0)

    def _set_params(self, run: str, params: Mapping[str, Any], found: Run | None) -> None:
        known = {} if found is None else found.data.params
        new = [
            Param(_key(name), str(value)[:_LONGEST_PARAM])
            for name, value in params.items()
            if _key(name) not in known
        ]
        for start in range(0, len(new), _MOST_PARAMS):
            self._client.log_batch(run, params=new[start : start + _MOST_PARAMS])

    def _set(
        self, run: str, numbers: Mapping[str, float], tags: Mapping[str, str], step: int, now: float
    ) -> None:
        self._client.log_batch(
            run,
            metrics=[Metric(_key(key), value, _milliseconds(now), step) for key, value in numbers.items()],
            tags=[RunTag(_key(key), value[:_LONGEST_TAG]) for key, value in tags.items()],
        )

    def _set_status(self, run: str, status: str, ended: float | None) -> None:
        if ended is None:
            self._client.update_run(run, status=status)
        else:
            self._client.set_terminated(run, status, _milliseconds(ended))

    @contextmanager
    def _masked_errors(self) -> Iterator[None]:
        """Raise errors without the password of the tracking server's address."""
        try:
            yield
        except Exception as error:
            if "failed with exception" in str(error):  # of the library that sends requests
                raise ConnectionError(f"{self.place.split()[0]} does not answer") from error
            raise RuntimeError(mask_message(str(error), self._address)) from error


def _key(name: str) -> str:
    """A name that MLflow accepts: `valid/mrr_at_10` for `valid/mrr@10`."""
    return _NOT_IN_NAMES.sub("_", name.replace("@", "_at_"))


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
