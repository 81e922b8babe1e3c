"""How Optuna's database stores the outcome of a trial: written as attributes, read as records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypedDict

import msgspec
from msgspec import Meta
from optuna.trial import FrozenTrial, TrialState

from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.messages import Decision, Failure, Result
from sasrecf_tune.search.imported_trials import IMPORTED, Import, import_of, is_provisional
from sasrecf_tune.search.strategies.distributions import distributions
from sasrecf_tune.storage.database.errors import CorruptStudyError
from sasrecf_tune.storage.database.optuna_internals import QUEUED, same_values
from sasrecf_tune.storage.database.ownership import OWNER
from sasrecf_tune.trials import State, TrialRecord

# System attribute of a trial: every metric after every validation. It may be thousands of numbers, which
# optuna-dashboard would show in one line if it were a user attribute.
CURVE = "sasrecf_tune:valid_curve"
# System attribute of a trial: the training loss at each validation.
LOSSES = "sasrecf_tune:losses"
# System attribute of a trial: the epoch at which the policy is asked about it again.
UNTIL = "sasrecf_tune:until"
# User attribute of a trial: the reasons why earlier attempts failed.
FAILED_ATTEMPTS = "failed_attempts"
# User attribute of a trial: how many of these attempts failed together with other trials of the worker.
FAILED_TOGETHER = "failed_together"
# User attribute of a trial, which a dashboard shows: where it was paused; empty once it goes on. To Optuna, a
# paused trial waits in the queue.
PAUSED = "sasrecf_tune:paused"
_Count = Annotated[int, Meta(ge=0, le=2**53)]
# `reproduce` starts as many as a trial had.
_MOST_THREADS = 4096
_Metrics = dict[str, float]


# What Optuna's successive halving notes, by rung.
_RUNG = "completed_rung_"
# Attributes of the study: the last point that a quasi-Monte Carlo sampler has taken of its sequence, which it
# computes from the first one.
_QMC = "qmc:"
_MOST_POINTS = 2**20


class _UserAttributes(TypedDict, total=False):
    """The user attributes of a trial that are read again."""

    seed: _Count
    epochs: _Count
    best_epoch: _Count
    seconds: Annotated[float, Meta(ge=0, le=1e12)]
    training_seconds: Annotated[float, Meta(ge=0, le=1e12)]
    valid: _Metrics
    test: _Metrics
    error: str
    device: str
    threads: Annotated[int, Meta(ge=0, le=_MOST_THREADS)]
    fused: _Count
    parameters: _Count
    failed_attempts: list[str]
    failed_together: _Count


class Pause(TypedDict, total=False):
    """How a trial was paused.

    Attributes:
        epoch: The last epoch that was reported.
        checkpoint: The epoch after which it goes on; 0 if it has no checkpoint.
        written: The time of the checkpoint's file, in nanoseconds.
        host: The machine in whose study directory it is.
    """

    epoch: _Count
    checkpoint: _Count
    written: int
    host: str


# System attributes of a trial that are read again.
_SYSTEM: dict[str, Any] = {
    CURVE: dict[str, list[float]],
    LOSSES: list[float],
    OWNER: str,
    QUEUED: dict[str, Any],
    UNTIL: _Count,
}
# Epochs of an intermediate value: more than any trial has.
_MOST_EPOCHS = 10**7
_STATES = {
    TrialState.COMPLETE: State.COMPLETE,
    TrialState.PRUNED: State.PRUNED,
    TrialState.FAIL: State.FAILED,
    TrialState.RUNNING: State.RUNNING,
    TrialState.WAITING: State.WAITING,
}


def outcome_attributes(outcome: Result | Failure) -> tuple[TrialState, dict[str, Any]]:
    """The state and the user attributes of a trial with this outcome."""
    attributes: dict[str, Any] = {"epochs": outcome.epochs, "seconds": round(outcome.seconds, 3)}
    if isinstance(outcome, Failure):
        return TrialState.FAIL, attributes | {"error": outcome.reason, "error_kind": outcome.kind}
    attributes |= {
        "best_epoch": outcome.best_epoch,
        "valid": outcome.valid,
        "device": outcome.device,
        "threads": outcome.threads,
        "fused": outcome.fused,
        "parameters": outcome.parameters,
    }
    if outcome.training_seconds:
        attributes["training_seconds"] = round(outcome.training_seconds, 3)
    if outcome.notes:
        attributes["notes"] = list(outcome.notes)
    if outcome.decision is Decision.PAUSE:
        return TrialState.WAITING, attributes
    if outcome.decision is Decision.PRUNE:
        return TrialState.PRUNED, attributes
    return TrialState.COMPLETE, attributes | {"test": outcome.test}


def is_paused(trial: FrozenTrial) -> bool:
    """Whether a policy has paused the trial; other trials of the queue were interrupted or never began."""
    return trial.state == TrialState.WAITING and bool(trial.user_attrs.get(PAUSED))


def state_of(trial: FrozenTrial) -> State:
    """The state that tables and files show."""
    return State.PAUSED if is_paused(trial) else _STATES[trial.state]


def check_study_attributes(attributes: Mapping[str, Any]) -> None:
    """Check the system attributes of a study that Optuna's samplers read.

    Raises:
        CorruptStudyError: one is invalid.
    """
    points = {key: value for key, value in attributes.items() if key.startswith(_QMC)}
    try:
        msgspec.convert(points, dict[str, Annotated[int, Meta(ge=0, le=_MOST_POINTS)]])
    except msgspec.ValidationError as error:
        raise CorruptStudyError(f"the state of a sampler is invalid: {error}") from error


class TrialReader:
    """Reads the trials of a study of `space` and `metric`."""

    def __init__(self, space: SearchSpace, metric: str) -> None:
        self._space = space
        self._metric = metric
        self._distributions = distributions(space)

    def score(self, valid: Mapping[str, float]) -> float:
        """The value of the study's metric among the metrics of a validation.

        Raises:
            CorruptStudyError: it is not among them.
        """
        if self._metric not in valid:
            raise CorruptStudyError(f"the metrics of a result lack {self._metric}")
        return float(valid[self._metric])

    def check(self, trial: FrozenTrial) -> None:
        """Check that the trial can be read.

        Raises:
            CorruptStudyError: it cannot.
        """
        attributes = trial.user_attrs
        try:
            msgspec.convert(attributes, _UserAttributes)
            msgspec.convert(attributes.get(PAUSED, {}), Pause)
            if IMPORTED in attributes:
                msgspec.convert(attributes[IMPORTED], Import)
            for key, value in trial.system_attrs.items():
                msgspec.convert(value, float if key.startswith(_RUNG) else _SYSTEM.get(key, Any))
        except msgspec.ValidationError as error:
            raise CorruptStudyError(f"trial {trial.number}: an attribute is invalid: {error}") from error
        except UnicodeError as error:  # half of a surrogate pair
            raise CorruptStudyError(f"trial {trial.number}: an attribute is not Unicode text") from error
        curve = trial.intermediate_values
        if not all(
            isinstance(epoch, int) and 0 <= epoch <= _MOST_EPOCHS and isinstance(score, float)
            for epoch, score in curve.items()
        ):
            raise CorruptStudyError(f"trial {trial.number}: an intermediate value is invalid")
        if trial.state == TrialState.COMPLETE and not isinstance(trial.value, float):
            raise CorruptStudyError(f"trial {trial.number}: its value is not a number")
        if attributes.get("valid") and self._metric not in attributes["valid"]:
            raise CorruptStudyError(f"trial {trial.number}: valid lacks {self._metric}")
        if trial.state == TrialState.COMPLETE and set(trial.params) != set(self._space.names):
            raise CorruptStudyError(f"trial {trial.number}: its parameters are not those of the space")
        for name, value in {**trial.system_attrs.get(QUEUED, {}), **trial.params}.items():
            expected = self._distributions.get(name)
            known = trial.distributions.get(name, expected)
            if expected is None or known is None or not same_values(expected, known, value):
                raise CorruptStudyError(f"trial {trial.number}: {name!r} is {value!r:.80}, not in the space")

    def record(self, trial: FrozenTrial) -> TrialRecord:
        """The record of a trial."""
        attributes = trial.user_attrs
        valid = attributes.get("valid", {})
        state = state_of(trial)
        score = trial.value if state == State.COMPLETE else None
        imported = import_of(trial)
        if state in (State.PRUNED, State.PAUSED) and valid:
            score = self.score(valid)
        return TrialRecord(
            number=trial.number,
            state=state,
            params=self._space.decode(trial.params) if trial.params else {},
            score=score,
            seed=attributes.get("seed"),
            epochs=attributes.get("epochs", 0),
            best_epoch=attributes.get("best_epoch", 0),
            seconds=attributes.get("seconds", 0.0),
            valid=valid,
            error=attributes.get("error", ""),
            weights=attributes.get("parameters", 0),
            imported=imported["source"] if imported else "",
            provisional=is_provisional(trial),
        )
