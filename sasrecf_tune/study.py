"""The Optuna study on disk: open or create, continue, record. The coordinator is its only writer."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sasrecf_tune.damage import UnreadableError
from sasrecf_tune.errors import StudyMismatchError, StudyNotFoundError
from sasrecf_tune.layout import ANOTHER_STUDY, Layout
from sasrecf_tune.messages import Decision, Failure, Report, Result
from sasrecf_tune.notes import failure_note
from sasrecf_tune.ranking import COMPLETE, FAILED, PRUNED, WAITING, TrialRecord
from sasrecf_tune.samplers import SpaceExhausted
from sasrecf_tune.sole_writer import SoleWriter
from sasrecf_tune.space import SearchSpace

_IDENTITY = "sasrecf_tune:identity"
_SPENT = "sasrecf_tune:seconds"
# Of a trial, among the system's: every metric after every validation. It may be thousands of numbers, which
# optuna-dashboard would show in one line among the attributes for people.
CURVE = "sasrecf_tune:valid_curve"
# Of a trial: the reasons why earlier attempts failed.
_FAILED_ATTEMPTS = "failed_attempts"
# Of a trial: what kind of value each attribute is that is read again.
_KINDS: Mapping[str, type | UnionType] = {
    "seed": int,
    "epochs": int,
    "best_epoch": int,
    "seconds": int | float,
    "valid": dict,
    "test": dict,
    "error": str,
    _FAILED_ATTEMPTS: list,
}
_STATES = {
    TrialState.COMPLETE: COMPLETE,
    TrialState.PRUNED: PRUNED,
    TrialState.FAIL: FAILED,
    TrialState.RUNNING: "running",
    TrialState.WAITING: WAITING,
}

optuna.logging.set_verbosity(optuna.logging.WARNING)


class TuneStudy:
    """One Optuna study and the space it searches.

    Raises:
        UnreadableError: it holds what was never written here.
    """

    def __init__(self, study: optuna.Study, storage: SoleWriter, space: SearchSpace) -> None:
        self.optuna = study
        self._storage = storage
        self._space = space
        attributes = study.user_attrs
        known, spent = attributes.get(_IDENTITY, {}), attributes.get(_SPENT, 0.0)
        if not isinstance(known, dict) or not isinstance(spent, int | float):
            raise UnreadableError(f"{_IDENTITY} is {known!r}, {_SPENT} is {spent!r}")
        self._metric = str(known.get("metric")).lower()
        self._seconds = float(spent)
        for trial in self._trials():
            self._check(trial)

    @property
    def maximize(self) -> bool:
        """Whether more of the study's metric is better."""
        return self.optuna.direction == StudyDirection.MAXIMIZE

    def records(self) -> list[TrialRecord]:
        """All trials, by number."""
        return [self._record(trial) for trial in self._trials()]

    def test_metrics(self) -> dict[int, dict[str, float]]:
        """Test results by trial number, kept apart so that nothing can select on them by mistake."""
        return {t.number: t.user_attrs["test"] for t in self._trials() if t.user_attrs.get("test")}

    def origin(self, number: int) -> dict[str, Any]:
        """A trial's validation and test metrics, and the device and the threads that it was trained with."""
        found = self._trials()[number].user_attrs
        defaults = {"valid": {}, "test": {}, "device": "", "threads": 0}
        return {key: found.get(key, default) for key, default in defaults.items()}

    def curves(self) -> dict[int, list[tuple[int, float]]]:
        """(epoch, score) pairs by trial number."""
        return {t.number: sorted(t.intermediate_values.items()) for t in self._trials()}

    def requeue_interrupted(self) -> int:
        """Put trials that a dead run left running back in the queue, under their own numbers.

        The caller holds the study exclusively, so no running trial has a live run. Returns how many.
        """
        stale = [trial for trial in self._trials() if trial.state == TrialState.RUNNING]
        with self._storage.together():  # thousands, when as many workers were at work
            for trial in stale:
                self._requeue(trial._trial_id)
        return len(stale)

    def give_back(self, number: int) -> None:
        """Put the running trial `number` back in the queue; it will start anew."""
        self._requeue(self._trials()[number]._trial_id)

    def drop(self, number: int, reason: str) -> None:
        """End a trial that waits: nobody needs its result any more."""
        trial_id = self._trials()[number]._trial_id
        with self._storage.together():
            self._storage.set_trial_user_attr(trial_id, "error", reason)
            self._storage.set_trial_state_values(trial_id, TrialState.FAIL)

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

    def tell(self, trial: optuna.Trial, outcome: Result | Failure, log: Path | None = None) -> TrialRecord:
        """Record the end of a trial; on disk when this returns. `log` is what was said during it."""
        number = trial.number
        note = ""
        attributes: dict[str, Any]
        if isinstance(outcome, Failure):
            attributes = {
                "error": outcome.reason,
                "error_kind": outcome.kind,
                "epochs": outcome.epochs,
                "seconds": round(outcome.seconds, 3),
            }
            state, value = TrialState.FAIL, None
            note = failure_note(outcome.reason, log) if log else ""
        else:
            attributes = {
                "epochs": outcome.epochs,
                "best_epoch": outcome.best_epoch,
                "seconds": round(outcome.seconds, 3),
                "valid": outcome.valid,
                "device": outcome.device,
                "threads": outcome.threads,
                "parameters": outcome.parameters,
            }
            if outcome.notes:
                attributes["notes"] = list(outcome.notes)
            if outcome.decision is Decision.PRUNE:
                state, value = TrialState.PRUNED, None
            else:
                attributes["test"] = outcome.test
                state, value = TrialState.COMPLETE, self._score(outcome.valid)
        if log:
            attributes["log"] = f"{log.parent.name}/{log.name}"
        with self._storage.together():
            for key, attribute in attributes.items():
                trial.set_user_attr(key, attribute)
            if isinstance(outcome, Result):
                self._storage.set_trial_system_attr(trial._trial_id, CURVE, outcome.curve)
            if note:
                self._storage.leave_note(trial._trial_id, note)
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

    def _check(self, trial: FrozenTrial) -> None:
        attributes = trial.user_attrs
        for key, kind in _KINDS.items():
            if key in attributes and not isinstance(attributes[key], kind):
                raise UnreadableError(f"trial {trial.number}: {key} is {attributes[key]!r}")
        if attributes.get("valid") and self._metric not in attributes["valid"]:
            raise UnreadableError(f"trial {trial.number}: valid lacks {self._metric}")
        try:
            self._space.decode(trial.params)
        except KeyError as error:  # of a choice; Optuna gives numbers for the rest
            raise UnreadableError(f"trial {trial.number}: no value of the space: {error}") from error

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
        UnreadableError: the study is damaged.
    """
    direction = StudyDirection.MAXIMIZE if maximize else StudyDirection.MINIMIZE
    with contextlib.suppress(DuplicatedStudyError):
        storage.create_new_study([direction], layout.optuna_name)
    memory, study = _in_memory(layout, storage, sampler, pruner)
    known = study.user_attrs.get(_IDENTITY)
    plain = json.loads(json.dumps(dict(identity)))
    if known is None:
        if study.get_trials(deepcopy=False):
            raise StudyMismatchError(
                f"the study {layout.name!r} was made by another program",
                where=str(layout.directory),
                fix=f"Move it away, or {ANOTHER_STUDY}",
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
            fix=f"Restore what was changed, or {ANOTHER_STUDY}",
        )
    return TuneStudy(study, memory, space)


def load_study(layout: Layout, storage: BaseStorage, space: SearchSpace) -> TuneStudy:
    """Open an existing study for reading.

    Raises:
        StudyNotFoundError: the database has no such study.
        UnreadableError: the study is damaged.
    """
    try:
        memory, study = _in_memory(layout, storage)
    except KeyError as error:
        raise StudyNotFoundError(
            f"the database holds no study {layout.optuna_name!r}", where=str(layout.directory)
        ) from error
    return TuneStudy(study, memory, space)


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
    sampler: optuna.samplers.BaseSampler | None = None,
    pruner: optuna.pruners.BasePruner | None = None,
) -> tuple[SoleWriter, optuna.Study]:
    name = layout.optuna_name
    memory = SoleWriter(storage, name)
    return memory, optuna.load_study(study_name=name, storage=memory, sampler=sampler, pruner=pruner)


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
