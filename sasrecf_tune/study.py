"""The Optuna study on disk: open or create, continue, record. The coordinator is its only writer."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from sasrecf_tune.errors import StorageError, StudyMismatchError, StudyNotFoundError
from sasrecf_tune.files import disk_error
from sasrecf_tune.layout import Layout
from sasrecf_tune.messages import Decision, Failure, Report, Result
from sasrecf_tune.ranking import COMPLETE, FAILED, PRUNED, WAITING, TrialRecord
from sasrecf_tune.samplers import SpaceExhausted
from sasrecf_tune.sole_writer import SoleWriter
from sasrecf_tune.space import SearchSpace

_IDENTITY = "sasrecf_tune:identity"
_SPENT = "sasrecf_tune:seconds"
# Of a trial: the reasons why earlier attempts failed.
_FAILED_ATTEMPTS = "failed_attempts"
_STATES = {
    TrialState.COMPLETE: COMPLETE,
    TrialState.PRUNED: PRUNED,
    TrialState.FAIL: FAILED,
    TrialState.RUNNING: "running",
    TrialState.WAITING: WAITING,
}

optuna.logging.set_verbosity(optuna.logging.WARNING)


@contextlib.contextmanager
def exclusive(layout: Layout) -> Iterator[None]:
    """Hold the study for one coordinator; the system lets go of it however the process ends.

    Raises:
        StorageError: another coordinator is at work on it, or the directory cannot be written.
    """
    try:
        layout.directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise disk_error(layout.directory, error) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            other = os.read(handle, 32).decode(errors="replace").strip()
            raise StorageError(
                f"another run is at work on this study (process {other or 'unknown'})",
                where=str(layout.directory),
                fix="Wait for it or stop it; `sasrecf-tune report` shows its results meanwhile.",
            ) from error
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise disk_error(layout.lock, error) from error
        yield
    finally:
        os.close(handle)


class TuneStudy:
    """One Optuna study and the space it searches."""

    def __init__(self, study: optuna.Study, storage: SoleWriter, space: SearchSpace) -> None:
        self.optuna = study
        self._storage = storage
        self._space = space
        attributes = study.user_attrs
        self._metric = str(attributes.get(_IDENTITY, {}).get("metric")).lower()
        self._seconds = float(attributes.get(_SPENT, 0.0))

    @property
    def maximize(self) -> bool:
        """Whether more of the study's metric is better."""
        return self.optuna.direction == optuna.study.StudyDirection.MAXIMIZE

    def records(self) -> list[TrialRecord]:
        """All trials, by number."""
        return [self._record(trial) for trial in self._trials()]

    def test_metrics(self) -> dict[int, dict[str, float]]:
        """Test results by trial number, kept apart so that nothing can select on them by mistake."""
        return {t.number: t.user_attrs["test"] for t in self._trials() if t.user_attrs.get("test")}

    def curves(self) -> dict[int, list[tuple[int, float]]]:
        """(epoch, score) pairs by trial number."""
        return {t.number: sorted(t.intermediate_values.items()) for t in self._trials()}

    def requeue_interrupted(self) -> int:
        """Put trials that a dead run left running back in the queue, under their own numbers.

        The caller holds the study exclusively, so no running trial has a live run. Returns how many.
        """
        stale = [trial for trial in self._trials() if trial.state == TrialState.RUNNING]
        for trial in stale:
            self._requeue(trial._trial_id)
        return len(stale)

    def give_back(self, number: int) -> None:
        """Put the running trial `number` back in the queue; it will start anew."""
        self._requeue(self._trials()[number]._trial_id)

    def ask(
        self,
        distributions: Mapping[str, BaseDistribution],
        attributes: Callable[[dict[str, Any]], Mapping[str, Any]],
    ) -> optuna.Trial:
        """The next trial: one from the queue, or a new one that the sampler fills.

        `attributes` gives the user attributes to record, from the trial's RecBole parameters.

        Raises:
            SpaceExhausted: the sampler has nothing left; the trial that Optuna had made for it has failed.
        """
        with self._storage.together():
            try:
                trial = self.optuna.ask(dict(distributions))
            except SpaceExhausted as exhausted:
                self._fail_unfilled(str(exhausted))
                nothing_left = exhausted
            else:
                for key, attribute in attributes(self._space.decode(trial.params)).items():
                    trial.set_user_attr(key, attribute)
                return trial
        raise nothing_left

    def try_again(self, trial: optuna.Trial, reason: str) -> int:
        """Put a trial that failed back in the queue; returns how many attempts of it have failed."""
        failed = [*trial.user_attrs.get(_FAILED_ATTEMPTS, []), reason]
        with self._storage.together():
            trial.set_user_attr(_FAILED_ATTEMPTS, failed)
            self._requeue(trial._trial_id)
        return len(failed)

    def failed_attempts(self, trial: optuna.Trial) -> int:
        """How many attempts of the trial have failed, in earlier runs too."""
        return len(trial.user_attrs.get(_FAILED_ATTEMPTS, []))

    def report(self, trial: optuna.Trial, report: Report) -> bool:
        """Record one validation; returns whether the pruner would stop the trial."""
        if report.epoch in trial._cached_frozen_trial.intermediate_values:
            # A trial that starts anew reports what it has reported before. It went on then, and does now:
            # the pruner would judge it as if it stood at the last epoch it has ever reached.
            return False
        trial.report(report.score, step=report.epoch)
        return trial.should_prune()

    def tell(self, trial: optuna.Trial, outcome: Result | Failure) -> TrialRecord:
        """Record the end of a trial; on disk when this returns."""
        number = trial.number
        attributes: dict[str, Any]
        if isinstance(outcome, Failure):
            attributes = {
                "error": outcome.reason,
                "error_kind": outcome.kind,
                "epochs": outcome.epochs,
                "seconds": round(outcome.seconds, 3),
            }
            state, value = TrialState.FAIL, None
        else:
            attributes = {
                "epochs": outcome.epochs,
                "best_epoch": outcome.best_epoch,
                "seconds": round(outcome.seconds, 3),
                "valid": outcome.valid,
                "valid_curve": outcome.curve,
                "device": outcome.device,
                "parameters": outcome.parameters,
                "notes": list(outcome.notes),
            }
            if outcome.decision is Decision.PRUNE:
                state, value = TrialState.PRUNED, None
            else:
                attributes["test"] = outcome.test
                state, value = TrialState.COMPLETE, self._score(outcome.valid)
        with self._storage.together():
            for key, attribute in attributes.items():
                trial.set_user_attr(key, attribute)
            self.optuna.tell(trial, value, state=state)
        return self._record(self._storage.get_trial(trial._trial_id), number)

    def seconds_spent(self) -> float:
        """What all runs of this study have taken so far, for a timeout that is a total."""
        return self._seconds

    def add_seconds(self, seconds: float) -> None:
        """Add to `seconds_spent`."""
        self._seconds += seconds
        self.optuna.set_user_attr(_SPENT, round(self._seconds, 3))

    def write_late(self) -> None:
        """Bring validations to the database that have waited for a while; to be called often."""
        self._storage.write_late()

    def _fail_unfilled(self, reason: str) -> None:
        # Optuna has made a trial before its sampler finds that there is nothing to fill it with.
        trial = self._trials()[-1]
        self._storage.set_trial_user_attr(trial._trial_id, "error", reason)
        self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)

    def _trials(self) -> list[FrozenTrial]:
        return self.optuna.get_trials(deepcopy=False)

    def _requeue(self, trial_id: int) -> None:
        # A running trial may go back to waiting (BaseStorage.set_trial_state_values); asking for the
        # next trial then takes it up again with its number and parameters.
        self._storage.set_trial_state_values(trial_id, TrialState.WAITING)

    def _score(self, valid: Mapping[str, float]) -> float:
        return float(valid[self._metric])

    def _record(self, trial: FrozenTrial, number: int | None = None) -> TrialRecord:
        attributes = trial.user_attrs
        valid = attributes.get("valid", {})
        score = trial.value if trial.state == TrialState.COMPLETE else None
        if trial.state == TrialState.PRUNED and valid:
            score = self._score(valid)
        return TrialRecord(
            number=trial.number if number is None else number,
            state=_STATES[trial.state],
            params=self._space.decode(trial.params) if trial.params else {},
            score=score,
            seed=attributes.get("seed"),
            epochs=attributes.get("epochs", 0),
            best_epoch=attributes.get("best_epoch", 0),
            seconds=attributes.get("seconds", 0.0),
            valid=valid,
            error=attributes.get("error", ""),
            weights=attributes.get("parameters", 0),
        )


def open_study(
    layout: Layout,
    storage: BaseStorage,
    space: SearchSpace,
    identity: Mapping[str, Any],
    maximize: bool,
    sampler: optuna.samplers.BaseSampler | None = None,
    pruner: optuna.pruners.BasePruner | None = None,
) -> TuneStudy:
    """Create the study, or continue it when it was made from the same `identity`.

    Raises:
        StudyMismatchError: the study was made from something else; the message shows the difference.
    """
    study = optuna.create_study(
        storage=storage,
        study_name=layout.name,
        direction="maximize" if maximize else "minimize",
        load_if_exists=True,
    )
    known = study.user_attrs.get(_IDENTITY)
    plain = json.loads(json.dumps(dict(identity)))
    if known is None:
        if study.get_trials(deepcopy=False):
            raise StudyMismatchError(
                f"the study {layout.name!r} was made by another program",
                where=str(layout.directory),
                fix="Choose another name with --study.",
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names([str(identity["metric"])])
        # Last: a study that has it is whole, and one that was not made to the end is made again.
        study.set_user_attr(_IDENTITY, plain)
    elif known != plain:
        raise StudyMismatchError(
            f"the study {layout.name!r} was made from something else:\n{difference(known, plain)}",
            where=str(layout.directory),
            fix="Give this search another name with --study, or restore what was changed.",
        )
    return _in_memory(layout, storage, space, sampler, pruner)


def load_study(layout: Layout, storage: BaseStorage, space: SearchSpace) -> TuneStudy:
    """Open an existing study for reading.

    Raises:
        StudyNotFoundError: the database has no such study.
    """
    try:
        return _in_memory(layout, storage, space)
    except KeyError as error:
        raise StudyNotFoundError(
            f"the database holds no study {layout.name!r}", where=str(layout.directory)
        ) from error


def difference(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """One line for each key that differs, keys of nested mappings joined with dots."""
    old, new = _flat(was), _flat(now)
    return "\n".join(
        f"  {key}: was {_shown(old, key)}, now {_shown(new, key)}"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key) or (key in old) != (key in new)
    )


def _in_memory(
    layout: Layout,
    storage: BaseStorage,
    space: SearchSpace,
    sampler: optuna.samplers.BaseSampler | None = None,
    pruner: optuna.pruners.BasePruner | None = None,
) -> TuneStudy:
    memory = SoleWriter(storage, layout.name)
    study = optuna.load_study(study_name=layout.name, storage=memory, sampler=sampler, pruner=pruner)
    return TuneStudy(study, memory, space)


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _shown(flat: Mapping[str, Any], key: str) -> str:
    return repr(flat[key]) if key in flat else "not set"
