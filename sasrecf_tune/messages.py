"""The messages between the coordinator and the workers.

Frozen dataclasses of plain values: they can be sent through a pipe, and need neither torch nor Optuna.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

# The parts of the data that a final model is trained on.
TrainOn = Literal["train", "train+valid", "all"]
Config = dict[str, Any]  # a RecBole configuration: key -> bool, int, float, str, None, list or dict


class Decision(enum.Enum):
    """The coordinator's answer to a report."""

    CONTINUE = "continue"
    PRUNE = "prune"
    PAUSE = "pause"  # write a checkpoint, and return the trial: it may be continued later
    STOP = "stop"  # the search is ending: return the trial unfinished


@dataclass(frozen=True)
class Describe:
    """A request to prepare the data of `config` and describe it.

    Attributes:
        features: All item columns that any trial may select.
    """

    config: Config
    engine: str
    features: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataSummary:
    """The data set after RecBole's filtering, and RecBole's view of the settings.

    Attributes:
        place: Where trials are trained, such as "ray, 3 nodes"; "" for this machine.
    """

    dataset: str
    users: int
    items: int
    interactions: int
    train_samples: int
    valid_samples: int
    test_samples: int
    item_columns: tuple[str, ...]
    fingerprint: str
    epochs: int
    metric_keys: tuple[str, ...]
    device: str
    threads: int
    notes: tuple[str, ...] = ()
    place: str = ""
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Measure:
    """A request to time `steps` training steps and one validation of `config`."""

    config: Config
    engine: str
    steps: int


@dataclass(frozen=True)
class Timing:
    """Seconds for one epoch of training and one validation, extrapolated from `steps` steps.

    Attributes:
        setup_seconds: Time before the first epoch, with the data already prepared.
    """

    train_seconds: float
    valid_seconds: float
    steps: int
    steps_per_epoch: int
    setup_seconds: float = 0.0

    @property
    def epoch_seconds(self) -> float:
        """Seconds for one epoch and its validation."""
        return self.train_seconds + self.valid_seconds

    def trial_seconds(self, epochs: int) -> float:
        """Seconds for a trial of `epochs` epochs and its test, which takes as long as a validation."""
        return self.setup_seconds + epochs * self.epoch_seconds + self.valid_seconds


@dataclass(frozen=True)
class MeasureFusion:
    """A request to compare training several trials of `config` as one model with training them in turn.

    The number of trials starts at 2 and doubles while each doubling is at least `min_gain` times as fast.

    Attributes:
        steps: Training steps to time.
        max_trials: The largest number of trials to try.
        fixed: Time `max_trials` trials only.
        sharers: Number of workers that share the memory of the device.
    """

    config: Config
    engine: str
    steps: int
    max_trials: int
    min_gain: float
    fixed: bool = False
    sharers: int = 1


DataRequest = Describe | Measure | MeasureFusion


@dataclass(frozen=True)
class FusionTiming:
    """The speed of training several trials as one model.

    Attributes:
        ratios: For each number of trials, how many times as fast as in turn they train.
        stop_reason: Why no larger number was tried.
    """

    ratios: dict[int, float]
    stop_reason: str


@dataclass(frozen=True)
class Deployment:
    """How the model of a job is trained for use, and where its files are written.

    Attributes:
        on: The parts of the data: "train" with early stopping on validation, as a trial; "train+valid" or
            "all" for all epochs, without a validation.
        directory: An empty directory for all files of `ModelDirectory` but the card.
        facts: What model.json says of the study and the data.
        seeds: Those of the models of an ensemble; empty for one model with the job's seed.
    """

    on: TrainOn
    directory: Path
    facts: dict[str, Any]
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Job:
    """One trial to train: a pure function of `config` (with its seed), data and engine.

    Attributes:
        checkpoint: File for the best weights, written when the trial completes.
        resume_file: File with the state of an interrupted trial. Training continues from it if it exists.
        checkpoint_every: Epochs between two writes of `resume_file`, which is also written when the trial is
            returned unfinished; 0 for never. A trial that is paused always writes it.
        local_config: Overrides of `config` for paths that differ on the machine that trains it.
        alone: Never train it in one worker with other trials.
        known: The coordinator has the reports of an earlier attempt up to this epoch.
        deployment: If it is no trial, how its model is trained and written.
        per_user: Where the metrics of each user are written, as `per_user_file` takes it.
    """

    number: int
    config: Config
    engine: str
    log: Path
    checkpoint: Path
    resume_file: Path | None = None
    checkpoint_every: int = 0
    local_config: Config = field(default_factory=dict)
    alone: bool = False
    known: int = 0
    deployment: Deployment | None = None
    per_user: Path | None = None


@dataclass(frozen=True)
class Report:
    """One validation, or an epoch of a model that is trained without one.

    Attributes:
        epoch: Counts from 1.
        score: NaN without a validation.
        metrics: RecBole's rounded validation results.
        seconds: Time since the trial began, earlier attempts included.
        continues_after: If the trial continues after this epoch, its reports up to there are sent again:
            those that the coordinator does not know, and the last.
        anew: In the first report, why the trial could not continue an earlier attempt.
        ends: Whether the trial ends by itself after it: it was the last epoch, or RecBole stops it early.
        training_seconds: The part of `seconds` that epochs and validations took, without preparing data.
    """

    number: int
    epoch: int
    score: float
    metrics: dict[str, float]
    train_loss: float
    seconds: float
    continues_after: int = 0
    anew: str = ""
    ends: bool = False
    training_seconds: float = 0.0


@dataclass(frozen=True)
class Waiting:
    """A worker starts to wait until another one has prepared the data; `over`: it no longer waits."""

    over: bool


@dataclass(frozen=True)
class Result:
    """A trial that ran until RecBole's early stopping, its last epoch, or a decision.

    Attributes:
        valid: Metrics of the best validation.
        test: Metrics of the test; empty unless the trial completed. Nothing is ever selected by them.
        curve: For each metric, its value at each validation.
        parameters: Number of trainable parameters.
        fused: The largest number of trials, this one included, that it was trained with as one model.
        checkpoint: The epoch of `Job.resume_file`, after which a paused trial can go on; 0 without one.
        training_seconds: As in the last report.
        losses: The training loss at each validation.
    """

    number: int
    decision: Decision
    epochs: int
    best_epoch: int
    valid: dict[str, float]
    test: dict[str, float]
    curve: dict[str, list[float]]
    seconds: float
    device: str
    parameters: int
    notes: tuple[str, ...] = ()
    threads: int = 0
    fused: int = 1
    checkpoint: int = 0
    training_seconds: float = 0.0
    losses: list[float] = field(default_factory=list)


class FailureKind(enum.StrEnum):
    """Why a trial failed. Studies store the values."""

    NAN = "nan"  # the training loss became NaN
    MEMORY = "memory"
    ERROR = "error"  # any other error of the trial's own code
    WORKER_DIED = "died"
    WORKER_HUNG = "hang"  # the worker was killed because it sent nothing for too long
    # An error in trials that train as one model, or the loss of a worker with several trials: which of them
    # caused it is unknown.
    FUSED = "together"
    DISK = "disk"  # a file could not be written, which is not the trial's fault


@dataclass(frozen=True)
class Failure:
    """A trial that ended in an error.

    Attributes:
        error: Type and text of an error whose `reason` is not known. It is compared, and never shown.
    """

    number: int
    kind: FailureKind
    reason: str
    epochs: int = 0
    seconds: float = 0.0
    error: str = ""

    @classmethod
    def after_report(cls, number: int, last: Report | None, kind: FailureKind, reason: str) -> Failure:
        """Return the failure of a trial whose worker was lost after the report `last`."""
        return cls(number, kind, reason, last.epoch if last else 0, last.seconds if last else 0.0)
