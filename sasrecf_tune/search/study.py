"""A study in Optuna's database: asks for trials, and records how they report and end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sasrecf_tune.analysis.search_summary import SearchSummary, with_predictions
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.messages import Failure, FailureKind, Report, Result
from sasrecf_tune.search.imported_trials import import_of
from sasrecf_tune.search.search_attributes import SUMMARY, read_summary, summary_attribute
from sasrecf_tune.search.strategies.space_sampler import SpaceExhausted
from sasrecf_tune.search.trial_attributes import (
    CURVE,
    FAILED_ATTEMPTS,
    FAILED_TOGETHER,
    LOSSES,
    PAUSED,
    TrialReader,
    check_study_attributes,
    outcome_attributes,
)
from sasrecf_tune.storage.database.cached_storage import WriteThroughStorage
from sasrecf_tune.storage.database.coordination import Coordination
from sasrecf_tune.storage.database.dashboard_notes import failure_note
from sasrecf_tune.storage.database.errors import CorruptStudyError
from sasrecf_tune.storage.database.optuna_internals import STUDY_ID
from sasrecf_tune.storage.database.study_name import IDENTITY
from sasrecf_tune.trials import TrialRecord

T = TypeVar("T")

# User attribute of the study: the seconds that all its runs have taken.
_SECONDS = "sasrecf_tune:seconds"

optuna.logging.set_verbosity(optuna.logging.WARNING)


class TrialLost(Exception):  # noqa: N818  # not an error
    """The trial was reassigned to another run, which took this one for dead."""


class TuneStudy:
    """An Optuna study of a search space, in which this run is one of possibly several.

    Attributes:
        optuna: The study as any Optuna tool sees it.
        peers: The other runs that work on it.
        storage: Where it is.
        say: Shows a message to the user.

    Raises:
        CorruptStudyError: it has attributes or trials that sasrecf-tune cannot have written.
    """

    def __init__(
        self, study: optuna.Study, storage: WriteThroughStorage, peers: Coordination, space: SearchSpace
    ) -> None:
        self.optuna = study
        self.peers = peers
        self.say: Callable[[str], None] = lambda _: None
        self.storage = storage
        self._space = space
        attributes = study.user_attrs
        known, spent = attributes.get(IDENTITY, {}), attributes.get(_SECONDS, 0.0)
        if not isinstance(known, dict) or not isinstance(spent, int | float) or not 0 <= spent < 1e15:
            raise CorruptStudyError(f"{IDENTITY} is {str(known)[:80]!r}, {_SECONDS} is {str(spent)[:80]!r}")
        self._reader = TrialReader(space, str(known.get("metric")).lower())
        self._seconds = float(spent)
        self.summary  # which checks it  # noqa: B018
        check_study_attributes(storage.get_study_system_attrs(STUDY_ID))
        if len(study.directions) != 1:
            raise CorruptStudyError(f"it has {len(study.directions)} objectives")
        for trial in self.trials():
            self._reader.check(trial)
        storage.check_trial = self._reader.check

    @property
    def maximize(self) -> bool:
        """Whether a larger value of the study's metric is better."""
        return self.optuna.direction == StudyDirection.MAXIMIZE

    def add_finished(self, trial: FrozenTrial) -> None:
        """Add a trial that has ended elsewhere; for use within a transaction, before this run joins.

        Raises:
            CorruptStudyError: It cannot be a trial of the study.
        """
        self._reader.check(trial)
        self.optuna.add_trial(trial)

    def transact(self, change: Callable[[], T]) -> T:
        """Call `change` in a transaction, once or more; returns what it returns."""
        return self.storage.transact(change)

    def trials(self) -> list[FrozenTrial]:
        """All trials by number, not copied."""
        return self.optuna.get_trials(deepcopy=False)

    def record(self, number: int) -> TrialRecord:
        """The record of one trial."""
        return self._reader.record(self.trials()[number])

    def records(self) -> list[TrialRecord]:
        """All trials, in the order of their numbers, with their predicted scores."""
        return self.predicted(self._reader.record(trial) for trial in self.trials())

    def predicted(self, records: Iterable[TrialRecord]) -> list[TrialRecord]:
        """The records of all ended and paused trials, with the predicted scores that are recorded."""
        return with_predictions(records, self.summary)

    @property
    def summary(self) -> SearchSummary | None:
        """What the default search found last; None if none is recorded.

        Raises:
            CorruptStudyError: sasrecf-tune cannot have written it.
        """
        return read_summary(self.optuna.user_attrs.get(SUMMARY))

    def current_summary(self) -> SearchSummary | None:
        """`summary`, if no trial has completed since."""
        summary = self.summary
        return summary if summary is not None and summary.is_of(self.records()) else None

    def record_summary(self, summary: SearchSummary) -> None:
        """Record what the search has found."""
        self.optuna.set_user_attr(SUMMARY, summary_attribute(summary))

    def test_metrics(self) -> dict[int, dict[str, float]]:
        """Test metrics by trial number; apart from records, so that nothing selects on them by mistake."""
        return {t.number: t.user_attrs["test"] for t in self.trials() if t.user_attrs.get("test")}

    def origin(self, number: int) -> dict[str, Any]:
        """A trial's validation and test metrics, its device, threads, and number of fused trials."""
        attributes = self.trials()[number].user_attrs
        defaults = {"valid": {}, "test": {}, "device": "", "threads": 0, "fused": 1}
        return {key: attributes.get(key, default) for key, default in defaults.items()}

    def devices(self) -> tuple[str, ...]:
        """The names of the devices that trials were trained on, in the order of the trials."""
        names = (trial.user_attrs.get("device") for trial in self.trials())
        return tuple(dict.fromkeys(str(name) for name in names if name))

    def curves(self) -> dict[int, list[tuple[int, float]]]:
        """(epoch, score) pairs by trial number."""
        return {t.number: sorted(t.intermediate_values.items()) for t in self.trials()}

    def join(self, about: str = "", say: Callable[[str], None] = lambda _: None) -> None:
        """Join the study; trials that a dead run left running go back to the queue.

        `about` tells the other runs how this one searches; `say` shows a message to the user.
        """
        self.say = say
        self.peers.join(about, say)

    def requeue(self, number: int) -> bool:
        """Put a running trial back in the queue; returns whether it belonged to this run."""

        def change() -> bool:
            owned = self.peers.owns(number)
            if owned:
                self._requeue(number)
            return owned

        owned = self.storage.transact(change)
        self.peers.release(number)
        return owned

    def drop(self, number: int, reason: str) -> None:
        """End a trial of the queue as failed, since its result is not needed any more."""

        def change() -> None:
            if self.storage.get_trial(number).state == TrialState.WAITING:
                self._fail(number, reason)

        self.storage.transact(change)

    def ask(
        self,
        distributions: Mapping[str, BaseDistribution],
        attributes: Callable[[dict[str, Any]], Mapping[str, Any]],
        limit: int | None = None,
    ) -> optuna.Trial | None:
        """Take the next trial: one from the queue, or a new one with parameters from the sampler.

        Args:
            distributions: The space, as Optuna's distributions.
            attributes: User attributes to record, from the trial's parameters as RecBole reads them.
            limit: How many trials may have ended or be in training, those of other runs included.

        Returns:
            The trial, None where the limit is reached.

        Raises:
            SpaceExhausted: the sampler has no configuration left.
        """

        def change() -> optuna.Trial | SpaceExhausted | None:
            begun = (trial for trial in self.trials() if import_of(trial) is None)
            taken = sum(trial.state != TrialState.WAITING for trial in begun)
            if limit is not None and taken >= limit:
                return None
            try:
                trial = self.optuna.ask(dict(distributions))
            except SpaceExhausted as exhausted:
                if self.peers.shared:
                    raise  # which rolls back the trial: else each run would leave a failed one
                # Optuna creates a trial before the sampler finds that it has no configuration for it.
                self._fail(self.trials()[-1].number, str(exhausted))
                return exhausted
            if self.trials()[trial.number].user_attrs.get(PAUSED):  # by a policy, in an earlier run
                trial.set_user_attr(PAUSED, {})
            for key, attribute in attributes(self._space.decode(trial.params)).items():
                trial.set_user_attr(key, attribute)
            return trial

        found = self.storage.transact(change)
        if isinstance(found, SpaceExhausted):
            raise found
        return found

    def retry(self, trial: optuna.Trial, failure: Failure) -> int:
        """Put a trial that failed back in the queue; returns how many attempts of it have failed.

        Raises:
            TrialLost: it was reassigned to another run.
        """
        # Computed once: the transaction may be repeated, and Optuna's copy of the trial has its values then.
        failed = [*trial.user_attrs.get(FAILED_ATTEMPTS, []), failure.reason]
        together = int(trial.user_attrs.get(FAILED_TOGETHER, 0)) + (failure.kind == FailureKind.FUSED)

        def change() -> bool:
            if not self.peers.owns(trial.number):
                return False
            trial.set_user_attr(FAILED_ATTEMPTS, failed)
            if together:
                trial.set_user_attr(FAILED_TOGETHER, together)
            self._requeue(trial.number)
            return True

        self._release(self.storage.transact(change), trial.number)
        return len(failed)

    def failed_attempts(self, trial: optuna.Trial) -> int:
        """How many attempts of the trial have failed, those of earlier runs included."""
        return len(trial.user_attrs.get(FAILED_ATTEMPTS, []))

    def failed_alone(self, trial: optuna.Trial) -> int:
        """Those of `failed_attempts` that the trial failed by itself: `--retries` limits these."""
        return max(0, self.failed_attempts(trial) - int(trial.user_attrs.get(FAILED_TOGETHER, 0)))

    def owns(self, trial: optuna.Trial) -> bool:
        """Whether the trial runs and belongs to this run, by what is known of the database."""
        return self.peers.owns(trial.number)

    def report(self, trial: optuna.Trial, report: Report) -> bool:
        """Record a validation of a trial of this run; returns whether the pruner would stop the trial."""
        if report.epoch in self.storage.get_trial(trial.number).intermediate_values:
            # A trial that was started again repeats reports of its first attempt. It was not pruned then, and
            # the pruner would judge it by the last epoch of that attempt.
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
        """Record the outcome of a trial; it is on disk when this returns.

        Args:
            trial: A trial of this run.
            outcome: Its outcome.
            log: The log of its training.
            refused: Called each time the database cannot store the outcome, before it is tried again.

        Raises:
            TrialLost: it was reassigned to another run.
        """
        self._release(self.storage.transact(self._end(trial, outcome, log), refused), trial.number)
        return self.record(trial.number)

    def _end(self, trial: optuna.Trial, outcome: Result | Failure, log: Path | None) -> Callable[[], bool]:
        """A change for `transact` that ends the trial; it returns whether this run has ended it."""
        note = failure_note(outcome.reason, log) if log and isinstance(outcome, Failure) else ""
        state, attributes = outcome_attributes(outcome)
        value = self._reader.score(attributes["valid"]) if state == TrialState.COMPLETE else None
        number = trial.number

        def change() -> bool:
            if not self.peers.owns(number):
                return self.peers.ended_here(number)
            self.record_attributes(trial, outcome, log)
            if note:
                self.storage.add_note(number, note)
            self.optuna.tell(trial, value, state=state)
            return True

        return change

    def record_attributes(self, trial: optuna.Trial, outcome: Result | Failure, log: Path | None) -> None:
        """Record all of an outcome but the trial's state; for use within a transaction."""
        attributes = outcome_attributes(outcome)[1]
        if log:
            attributes["log"] = f"{log.parent.name}/{log.name}"
        for key, attribute in attributes.items():
            trial.set_user_attr(key, attribute)
        if isinstance(outcome, Result):
            self.storage.set_trial_system_attr(trial.number, CURVE, outcome.curve)
            if outcome.losses:
                self.storage.set_trial_system_attr(trial.number, LOSSES, outcome.losses)

    def record_pending(self, number: int, outcome: Result, owner: str) -> bool | None:
        """Record a result that an earlier run, whose token was `owner`, could not.

        Returns:
            Whether the study needed it; None while another run trains the trial.
        """

        def change() -> bool | None:
            if number >= len(self.trials()):
                return False
            if self.peers.reclaim(number, owner):
                # Its validations may be lost, and samplers learn from the best one.
                self.storage.set_trial_intermediate_value(
                    number, outcome.best_epoch, self._reader.score(outcome.valid)
                )
                return self._end(optuna.Trial(self.optuna, number), outcome, None)()
            return False if self.storage.get_trial(number).state.is_finished() else None

        recorded = self.storage.transact(change)
        if recorded:
            self.peers.release(number)
        return recorded

    def take_finished_by_peers(self) -> list[TrialRecord]:
        """The trials that other runs have ended since the last call."""
        return [self.record(number) for number in self.peers.take_finished_by_peers()]

    def seconds_spent(self) -> float:
        """The seconds that all runs of this study have taken so far."""
        return self._seconds

    def add_seconds(self, seconds: float) -> None:
        """Add to `seconds_spent`."""
        self._seconds = self.peers.add_seconds(_SECONDS, seconds)

    def flush_if_due(self) -> None:
        """Write scores and a sign of life to the database, if it is time; to be called often."""
        self.storage.flush_if_due()
        self.peers.beat_if_due()

    def _fail(self, number: int, reason: str) -> None:
        self.storage.set_trial_user_attr(number, "error", reason)
        self.storage.set_trial_state_values(number, TrialState.FAIL)

    def _release(self, owned: bool, number: int) -> None:
        self.peers.release(number)
        if not owned:
            raise TrialLost

    def _requeue(self, number: int) -> None:
        # The next trial that Optuna is asked for is then this one, with its number and parameters.
        self.storage.set_trial_state_values(number, TrialState.WAITING)
