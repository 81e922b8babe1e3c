"""The Optuna study: open or create, continue, record. What writes it says who else may."""

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

from sasrecf_tune.analysis.reproduction import diff_text
from sasrecf_tune.errors import StudyMismatchError, StudyNotFoundError
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.messages import Decision, Failure, Report, Result
from sasrecf_tune.search.strategies.samplers import SpaceExhausted
from sasrecf_tune.storage.database.cached import WriteThroughStorage
from sasrecf_tune.storage.database.coordination import Coordination, SingleCoordinator, open_coordinated
from sasrecf_tune.storage.database.dashboard_notes import failure_note
from sasrecf_tune.storage.database.errors import CorruptStudyError
from sasrecf_tune.storage.directory import ANOTHER_STUDY, StudyDirectory
from sasrecf_tune.trials import State, TrialRecord

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
    TrialState.COMPLETE: State.COMPLETE,
    TrialState.PRUNED: State.PRUNED,
    TrialState.FAIL: State.FAILED,
    TrialState.RUNNING: State.RUNNING,
    TrialState.WAITING: State.WAITING,
}

optuna.logging.set_verbosity(optuna.logging.WARNING)


class TrialLost(Exception):  # noqa: N818  # nothing is wrong
    """Another coordinator has been given the trial meanwhile: what became of it here is dropped."""


class TuneStudy:
    """One Optuna study and the space it searches.

    Raises:
        CorruptStudyError: it holds what was never written here.
    """

    def __init__(
        self, study: optuna.Study, storage: WriteThroughStorage, peers: Coordination, space: SearchSpace
    ) -> None:
        self.optuna = study
        self.peers = peers
        self.say: Callable[[str], None] = lambda _: None
        self._storage = storage
        self._space = space
        attributes = study.user_attrs
        known, spent = attributes.get(_IDENTITY, {}), attributes.get(_SPENT, 0.0)
        if not isinstance(known, dict) or not isinstance(spent, int | float):
            raise CorruptStudyError(f"{_IDENTITY} is {known!r}, {_SPENT} is {spent!r}")
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
        """A trial's validation and test metrics, and what it was trained with."""
        found = self._trials()[number].user_attrs
        defaults = {"valid": {}, "test": {}, "device": "", "threads": 0, "fused": 1}
        return {key: found.get(key, default) for key, default in defaults.items()}

    def curves(self) -> dict[int, list[tuple[int, float]]]:
        """(epoch, score) pairs by trial number."""
        return {t.number: sorted(t.intermediate_values.items()) for t in self._trials()}

    def join(self, about: str = "", say: Callable[[str], None] = lambda _: None) -> None:
        """Begin to ask for trials; those that a dead run left running go back to the queue first.

        `about` says to others at work on the study how this coordinator searches; `say` passes on what people
        should know.
        """
        self.say = say
        self.peers.join(about, say)

    def give_back(self, number: int) -> bool:
        """Put the running trial `number` back in the queue; it will start anew.

        Returns whether it was this coordinator's to give.
        """

        def change() -> bool:
            mine = self.peers.owns(number)
            if mine:
                self._requeue(number)
            return mine

        mine = self._storage.transact(change)
        self.peers.release(number)
        return mine

    def drop(self, number: int, reason: str) -> None:
        """End a trial that waits: nobody needs its result any more."""

        def change() -> None:
            if self._storage.get_trial(number).state == TrialState.WAITING:
                self._fail(number, reason)

        self._storage.transact(change)

    def ask(
        self,
        distributions: Mapping[str, BaseDistribution],
        attributes: Callable[[dict[str, Any]], Mapping[str, Any]],
        limit: int | None = None,
    ) -> optuna.Trial | None:
        """The next trial: one from the queue, or a new one that the sampler fills.

        `attributes` gives the user attributes to record, from the trial's RecBole parameters. None where
        `limit` trials have ended or are being trained, elsewhere too.

        Raises:
            SpaceExhausted: the sampler has nothing left; the trial that Optuna had made for it has failed.
        """

        def change() -> optuna.Trial | SpaceExhausted | None:
            taken = sum(trial.state != TrialState.WAITING for trial in self._trials())
            if limit is not None and taken >= limit:
                return None
            try:
                trial = self.optuna.ask(dict(distributions))
            except SpaceExhausted as exhausted:
                if self.peers.shared:
                    raise  # which takes that trial back: one for each coordinator would be too many
                # Optuna has made a trial before its sampler finds that there is nothing to fill it with.
                self._fail(self._trials()[-1].number, str(exhausted))
                return exhausted
            for key, attribute in attributes(self._space.decode(trial.params)).items():
                trial.set_user_attr(key, attribute)
            return trial

        found = self._storage.transact(change)
        if isinstance(found, SpaceExhausted):
            raise found
        return found

    def try_again(self, trial: optuna.Trial, reason: str) -> int:
        """Put a trial that failed back in the queue; returns how many attempts of it have failed.

        Raises:
            TrialLost: it is not this coordinator's any more.
        """
        failed = [*trial.user_attrs.get(_FAILED_ATTEMPTS, []), reason]

        def change() -> bool:
            if not self.peers.owns(trial.number):
                return False
            trial.set_user_attr(_FAILED_ATTEMPTS, failed)
            self._requeue(trial.number)
            return True

        self._or_lost(self._storage.transact(change), trial.number)
        return len(failed)

    def failed_attempts(self, trial: optuna.Trial) -> int:
        """How many attempts of the trial have failed, in earlier runs too."""
        return len(trial.user_attrs.get(_FAILED_ATTEMPTS, []))

    def owns(self, trial: optuna.Trial) -> bool:
        """Whether the running trial is still this coordinator's, as far as it knows."""
        return self.peers.owns(trial.number)

    def report(self, trial: optuna.Trial, report: Report) -> bool:
        """Record one validation of an own trial; returns whether the pruner would stop it."""
        if report.epoch in self._storage.get_trial(trial.number).intermediate_values:
            # A trial that starts anew reports what it has reported before. It went on then, and does now:
            # the pruner would judge it as if it stood at the last epoch it has ever reached.
            return False
        trial.report(report.score, step=report.epoch)
        return trial.should_prune()

    def tell(
        self,
        trial: optuna.Trial,
        outcome: Result | Failure,
        log: Path | None = None,
        refused: Callable[[], None] = lambda: None,
    ) -> TrialRecord:
        """Record the end of a trial; on disk when this returns. `log` is what was said during it.

        `refused` is called whenever the database refuses it, even if it does not in the end.

        Raises:
            TrialLost: it is not this coordinator's any more.
        """
        self._or_lost(self._storage.transact(self._end(trial, outcome, log), refused), trial.number)
        return self._record(self._storage.get_trial(trial.number))

    def _end(self, trial: optuna.Trial, outcome: Result | Failure, log: Path | None) -> Callable[[], bool]:
        """The change that ends a trial; it returns whether this coordinator has ended it."""
        note = failure_note(outcome.reason, log) if log and isinstance(outcome, Failure) else ""
        state, attributes = ending(outcome)
        value = self._score(attributes["valid"]) if state == TrialState.COMPLETE else None
        if log:
            attributes["log"] = f"{log.parent.name}/{log.name}"
        number = trial.number

        def change() -> bool:
            if not self.peers.owns(number):
                return self.peers.ended_here(number)
            for key, attribute in attributes.items():
                trial.set_user_attr(key, attribute)
            if isinstance(outcome, Result):
                self._storage.set_trial_system_attr(number, CURVE, outcome.curve)
            if note:
                self._storage.add_note(number, note)
            self.optuna.tell(trial, value, state=state)
            return True

        return change

    def kept(self, number: int, outcome: Result, owner: str) -> bool | None:
        """Record what an earlier run, `owner`, could not; returns whether it was still wanted.

        None while another trains the trial.
        """

        def change() -> bool | None:
            if number >= len(self._trials()):
                return False
            if self.peers.reclaim(number, owner):
                # Its validations may be lost, and models learn from the best.
                self._storage.set_trial_intermediate_value(
                    number, outcome.best_epoch, self._score(outcome.valid)
                )
                return self._end(optuna.Trial(self.optuna, number), outcome, None)()
            return False if self._storage.get_trial(number).state.is_finished() else None

        told = self._storage.transact(change)
        if told:
            self.peers.release(number)
        return told

    def take_finished_by_peers(self) -> list[TrialRecord]:
        """The trials that other coordinators have ended since this was last asked."""
        return [self._record(self._trials()[number]) for number in self.peers.take_finished_by_peers()]

    def seconds_spent(self) -> float:
        """What all runs of this study have taken so far, for a timeout that is a total."""
        return self._seconds

    def add_seconds(self, seconds: float) -> None:
        """Add to `seconds_spent`."""
        self._seconds = self.peers.add_seconds(_SPENT, seconds)

    def flush_if_due(self) -> None:
        """Write scores and a sign of life to the database, if it is time; to be called often."""
        self._storage.flush_if_due()
        self.peers.beat_if_due()

    def _check(self, trial: FrozenTrial) -> None:
        attributes = trial.user_attrs
        for key, kind in _KINDS.items():
            if key in attributes and not isinstance(attributes[key], kind):
                raise CorruptStudyError(f"trial {trial.number}: {key} is {attributes[key]!r}")
        if attributes.get("valid") and self._metric not in attributes["valid"]:
            raise CorruptStudyError(f"trial {trial.number}: valid lacks {self._metric}")
        try:
            self._space.decode(trial.params)
        except KeyError as error:  # of a choice; Optuna gives numbers for the rest
            raise CorruptStudyError(f"trial {trial.number}: no value of the space: {error}") from error

    def _fail(self, number: int, reason: str) -> None:
        self._storage.set_trial_user_attr(number, "error", reason)
        self._storage.set_trial_state_values(number, TrialState.FAIL)

    def _or_lost(self, done: bool, number: int) -> None:
        self.peers.release(number)
        if not done:
            raise TrialLost

    def _trials(self) -> list[FrozenTrial]:
        return self.optuna.get_trials(deepcopy=False)

    def _requeue(self, number: int) -> None:
        # A running trial may go back to waiting (BaseStorage.set_trial_state_values); asking for the
        # next trial then takes it up again with its number and parameters.
        self._storage.set_trial_state_values(number, TrialState.WAITING)

    def _score(self, valid: Mapping[str, float]) -> float:
        return float(valid[self._metric])

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        attributes = trial.user_attrs
        valid = attributes.get("valid", {})
        score = trial.value if trial.state == TrialState.COMPLETE else None
        if trial.state == TrialState.PRUNED and valid:
            score = self._score(valid)
        return TrialRecord(
            number=trial.number,
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
    study_dir: StudyDirectory,
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
        CorruptStudyError: the study is damaged.
    """
    direction = StudyDirection.MAXIMIZE if maximize else StudyDirection.MINIMIZE
    with contextlib.suppress(DuplicatedStudyError):
        storage.create_new_study([direction], study_dir.optuna_name)
    memory, peers = open_coordinated(storage, study_dir.optuna_name)
    study = optuna.load_study(
        study_name=study_dir.optuna_name, storage=memory, sampler=sampler, pruner=pruner
    )
    plain = json.loads(json.dumps(dict(identity)))

    def identify() -> None:
        known = memory.read_study_attributes().get(_IDENTITY)
        if known is None:
            if study.get_trials(deepcopy=False):
                raise StudyMismatchError(
                    f"the study {study_dir.name!r} was made by another program",
                    where=str(study_dir.directory),
                    fix=f"Move it away, or {ANOTHER_STUDY}",
                )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                study.set_metric_names([str(identity["metric"])])
            # Last: a study that has it is whole, and one that was not made to the end is made again.
            study.set_user_attr(_IDENTITY, plain)
        elif known != plain:
            raise StudyMismatchError(
                f"the study {study_dir.name!r} was made from something else:\n{diff_text(known, plain)}",
                where=str(study_dir.directory),
                fix=f"Restore what was changed, or {ANOTHER_STUDY}",
            )

    memory.transact(identify)
    return TuneStudy(study, memory, peers, space)


def load_study(study_dir: StudyDirectory, storage: BaseStorage, space: SearchSpace) -> TuneStudy:
    """Open an existing study for reading.

    Raises:
        StudyNotFoundError: the database has no such study.
        CorruptStudyError: the study is damaged.
    """
    try:
        memory = WriteThroughStorage(storage, study_dir.optuna_name)
    except KeyError as error:
        raise StudyNotFoundError(
            f"the database holds no study {study_dir.optuna_name!r}", where=str(study_dir.directory)
        ) from error
    study = optuna.load_study(study_name=study_dir.optuna_name, storage=memory)
    return TuneStudy(study, memory, SingleCoordinator(memory), space)


def ending(outcome: Result | Failure) -> tuple[TrialState, dict[str, Any]]:
    """The state that the trial ends in, and its attributes."""
    attributes: dict[str, Any]
    if isinstance(outcome, Failure):
        return TrialState.FAIL, {
            "error": outcome.reason,
            "error_kind": outcome.kind,
            "epochs": outcome.epochs,
            "seconds": round(outcome.seconds, 3),
        }
    attributes = {
        "epochs": outcome.epochs,
        "best_epoch": outcome.best_epoch,
        "seconds": round(outcome.seconds, 3),
        "valid": outcome.valid,
        "device": outcome.device,
        "threads": outcome.threads,
        "fused": outcome.fused,
        "parameters": outcome.parameters,
    }
    if outcome.notes:
        attributes["notes"] = list(outcome.notes)
    if outcome.decision is Decision.PRUNE:
        return TrialState.PRUNED, attributes
    return TrialState.COMPLETE, attributes | {"test": outcome.test}
