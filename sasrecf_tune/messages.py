"""What the coordinator and the workers say to each other.

Plain frozen dataclasses of plain values, so that they cross a pipe, and so that the coordinator
needs no torch and the workers no Optuna.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Config = dict[str, Any]  # a RecBole configuration: key -> bool, int, float, str, None, list or dict


class Decision(enum.Enum):
    """The coordinator's answer to a report."""

    CONTINUE = "continue"
    PRUNE = "prune"
    STOP = "stop"  # the search is ending: give the trial back unfinished


@dataclass(frozen=True)
class Describe:
    """Asks a worker to prepare the data of `config` and to say what it found.

    `features` are all item columns that any trial may select.
    """

    config: Config
    engine: str
    features: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataSummary:
    """What the data set holds after RecBole's filtering, and RecBole's view of the settings."""

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
    place: str = ""  # such as "ray, 3 nodes"; "" for this machine
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Measure:
    """Asks a worker to time `steps` training steps and one validation of `config`."""

    config: Config
    engine: str
    steps: int


@dataclass(frozen=True)
class Timing:
    """Seconds for one epoch of training and one validation, extrapolated from `steps` steps.

    `setup_seconds` are those before the first epoch, once the data is prepared.
    """

    train_seconds: float
    valid_seconds: float
    steps: int
    steps_per_epoch: int
    setup_seconds: float = 0.0

    @property
    def epoch_seconds(self) -> float:
        """One epoch, with its validation."""
        return self.train_seconds + self.valid_seconds

    def trial_seconds(self, epochs: int) -> float:
        """A trial of so many epochs, with its test, which takes what a validation takes."""
        return self.setup_seconds + epochs * self.epoch_seconds + self.valid_seconds


@dataclass(frozen=True)
class MeasureFusion:
    """Asks a worker how much sooner trials of `config` are trained together than one after the other.

    From two trials on, each time twice as many up to `most` while that is `worth` times as fast again; or
    `most` alone where that is `given`. `sharers` is how many workers divide the memory of the device.
    """

    config: Config
    engine: str
    steps: int
    most: int
    worth: float
    given: bool = False
    sharers: int = 1


@dataclass(frozen=True)
class FusionTiming:
    """`ratios` holds for numbers of trials how many times as fast they train together as in turn.

    `ended` says why no more of them were tried.
    """

    ratios: dict[int, float]
    ended: str


@dataclass(frozen=True)
class Job:
    """One trial to train: a pure function of `config` (its seed included), data and engine.

    When it ends, its best weights go to `checkpoint`. After every `checkpoint_every` epochs (0: never), and
    when it is given back, all that it needs to go on goes to `unfinished`; it continues from what lies there.
    Where it is to be trained `alone`, it is never part of one model with others. `here` says where things lie
    on the machine that trains it, where that is not as in `config`.
    """

    number: int
    config: Config
    engine: str
    log: Path
    checkpoint: Path
    unfinished: Path | None = None
    checkpoint_every: int = 0
    here: Config = field(default_factory=dict)
    alone: bool = False


@dataclass(frozen=True)
class Report:
    """One validation: `epoch` counts from 1, `metrics` are RecBole's rounded validation results.

    A trial that continues after epoch `continues_after` sends its reports up to there again. One that could
    not continue says why in `anew`, in its first report.
    """

    number: int
    epoch: int
    score: float
    metrics: dict[str, float]
    train_loss: float
    seconds: float
    continues_after: int = 0
    anew: str = ""


@dataclass(frozen=True)
class Waiting:
    """A worker begins to wait until another has prepared the data, or `over`: it has waited."""

    over: bool


@dataclass(frozen=True)
class Result:
    """A trial that ran until RecBole's early stopping, its last epoch, or a decision.

    `valid` is the best validation. `test` is empty unless the trial completed; it is kept apart
    from everything that selects. `curve` holds one list for each metric, an entry an evaluation.
    Up to `fused` trials, this one included, trained as one model.
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


class FailureKind(enum.StrEnum):
    """Why a trial failed. Studies store the values."""

    NAN = "nan"  # the training loss became NaN
    MEMORY = "memory"
    ERROR = "error"  # anything else that the trial's own code raised
    WORKER_DIED = "died"
    WORKER_HUNG = "hang"  # the worker was ended because it sent nothing for too long
    FUSED = "together"  # an error in trials that train as one model: which of them caused it is not known
    DISK = "disk"  # a file could not be written, which is not the trial's fault


@dataclass(frozen=True)
class Failure:
    """A trial that ended in an error."""

    number: int
    kind: FailureKind
    reason: str
    epochs: int = 0
    seconds: float = 0.0
