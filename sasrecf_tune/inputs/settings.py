"""The settings of a run. Each field is declared once, with the command-line option that sets it."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_type_hints

from typer import Option

from sasrecf_tune.errors import InputError, suggest
from sasrecf_tune.inputs.durations import parse_duration
from sasrecf_tune.inputs.hyperparameters import BUILTIN_DATASET
from sasrecf_tune.inputs.metrics import DECIMALS, Metric, parse_metric
from sasrecf_tune.inputs.option_values import (
    AUTO_FUSE,
    MOST_FUSED,
    Size,
    Until,
    parse_fuse,
    parse_gpus,
    parse_size,
    parse_until,
)

# The sampler that pauses trials and continues the promising ones.
FREEZE_THAW: Final = "freeze-thaw"
Sampler = Literal["auto", "freeze-thaw", "grid", "tpe", "gp", "random", "cmaes", "qmc"]
Pruner = Literal["auto", "none", "median", "percentile", "halving", "hyperband"]
Engine = Literal["fast", "recbole"]
Where = Literal["local", "ray"]
Tracker = Literal["tensorboard", "mlflow", "wandb"]

# Fewer seeds hardly distinguish any two configurations.
SEEDS = 5
# Marks an option that is None if left out: the default is computed from other settings.
COMPUTED = object()
# The metadata of a field without an option.
NO_OPTION = {"option": False}
KEEP_PAUSED = parse_size("5GB")
UNTIL = Until(1.0)


@dataclass(frozen=True)
class SearchSettings:
    """How to search. Times are in seconds; `trials` and `timeout` count earlier runs of the study too."""

    sampler: Annotated[
        Sampler,
        Option("--sampler", help="auto: freeze-thaw, which pauses trials and resumes the promising ones."),
    ] = "auto"
    pruner: Annotated[
        Pruner, Option("--pruner", help="auto: median; none for freeze-thaw, which pauses trials.")
    ] = "auto"
    trials: Annotated[
        int | None,
        Option(
            "--trials",
            "--max_evals",
            min=1,
            help="Total trials, earlier runs included.  "
            "[default: 1,000 with freeze-thaw, all with grid, else 100]",
        ),
    ] = None
    timeout: Annotated[
        float | None,
        Option(
            "--timeout",
            metavar="90m",
            parser=parse_duration,
            help="Total time (45s, 90m, 2h) of the search, earlier runs included.  [default: no limit]",
        ),
    ] = None
    patience: Annotated[
        int | None,
        Option(
            "--patience",
            min=1,
            help="Stop when this many full trials' worth of epochs bring no better result.  "
            "[default: no limit]",
        ),
    ] = None
    until: Annotated[
        Until,
        Option(
            "--until",
            metavar="1|never",
            parser=parse_until,
            help="End when training all configurations is expected to improve the choice by less than this "
            "many standard deviations between seeds.",
        ),
    ] = UNTIL
    # No limit by default: the duration of an epoch depends on the data. A worker that is only slow would be
    # stopped each time.
    hang_timeout: Annotated[
        float | None,
        Option(
            "--hang-timeout",
            metavar="30m",
            parser=lambda text: parse_duration(text, "--hang-timeout"),
            help="Stop a worker that is silent for this long; allow for an epoch and preparing the data.  "
            "[default: no limit]",
        ),
    ] = None
    retries: Annotated[
        int,
        Option(
            "--retries",
            min=0,
            max=100,
            help="Retries of a trial whose worker was killed, crashed or was silent.",
        ),
    ] = 1
    fail_fast: Annotated[bool, Option("--fail-fast", help="Stop the search when a trial fails.")] = False
    # Slurm and Kubernetes send SIGKILL 30 seconds after SIGTERM by default.
    grace: Annotated[
        float,
        Option(
            "--grace",
            metavar="25s",
            parser=lambda text: parse_duration(text, "--grace"),
            help="After SIGTERM: time for running epochs to finish before their trials are queued again.",
        ),
    ] = 25.0
    checkpoint_every: Annotated[
        int,
        Option(
            "--checkpoint-every",
            metavar="EPOCHS",
            min=0,
            help="Save running trials at this interval, to continue them after an interruption; 0: never.",
        ),
    ] = 0
    keep_paused: Annotated[
        Size,
        Option(
            "--keep-paused",
            metavar="SIZE",
            parser=parse_size,
            help="Disk space for checkpoints of paused trials; a trial without one begins anew.",
        ),
    ] = KEEP_PAUSED
    confirm: Annotated[
        int,
        Option(
            "--confirm",
            metavar="K",
            min=0,
            max=100,
            help="After the search, train the best K configurations again on fresh seeds.",
        ),
    ] = 0
    confirm_seeds: Annotated[
        int,
        Option(
            "--confirm-seeds",
            metavar="S",
            min=1,
            max=1000,
            help="Fresh seeds for each configuration of --confirm.",
        ),
    ] = SEEDS
    per_user: Annotated[
        bool,
        Option(
            "--per-user",
            help="Write each user's rank of the held-out item and metrics, of all runs of a confirmation.",
        ),
    ] = False


@dataclass(frozen=True)
class EarlierOptions:
    """Earlier searches whose trials count; a study keeps what it has imported, not these options."""

    prior: Annotated[
        list[str],
        Option(
            "--prior",
            metavar="STUDY",
            help="Earlier study, whose finished trials count if data, metric and settings are the same; may "
            "be repeated.",
        ),
    ] = field(default_factory=list)
    import_trials: Annotated[
        list[str],
        Option(
            "--import-trials",
            metavar="FILE",
            help="The same for RecBole's hyper.result, trials.csv, or an Optuna database (SQLite file, or "
            "address); may be repeated.",
        ),
    ] = field(default_factory=list)
    trust: Annotated[
        bool,
        Option(
            "--trust",
            help="Rank imported trials by score; take what a file does not record to be as in this study.",
        ),
    ] = False


@dataclass(frozen=True)
class ConfigOptions:
    """The options that `RunSettings.base` is read from."""

    data_path: Annotated[
        Path | None,
        Option("--data-path", "--data_path", help="Directory that contains DATASET/DATASET.inter and .item."),
    ] = None
    config_files: Annotated[
        list[str],
        Option(
            "--config-files",
            "--config_files",
            metavar="FILE",
            help="RecBole YAML file, or several separated by spaces; may be repeated. A later file wins.",
        ),
    ] = field(default_factory=list)
    overrides: Annotated[
        list[str],
        Option("--set", metavar="KEY=VALUE", help="RecBole setting for all trials; may be repeated."),
    ] = field(default_factory=list)


# Applies to the commands of all studies; those in their own directories do without.
STORAGE_VARIABLE = "SASRECF_TUNE_STORAGE"
Out = Annotated[Path, Option("--out", help="Directory of studies.")]
Storage = Annotated[
    str | None,
    Option(
        "--storage",
        metavar="URL",
        envvar=STORAGE_VARIABLE,
        help="Database (postgresql://, mysql://) instead of SQLite in the study directory.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """The settings of `sasrecf-tune run`.

    `base` is the RecBole configuration from config files and `--set`, without the parameters of a trial;
    `sources` says for each key where it was given.
    `gpus` is as `parse_gpus` returns it. `workers` and `threads` are None if each run is to decide.
    """

    params_file: Annotated[
        Path, Option("--params-file", "--params_file", help="Search space in RecBole's hyper.test format.")
    ]
    dataset: Annotated[
        str,
        Option(
            "--dataset",
            help="RecBole data set.  [default: dataset of the config files, or RecBole's own ml-100k]",
        ),
        COMPUTED,
    ] = BUILTIN_DATASET
    base: Annotated[dict[str, Any], ConfigOptions]
    model: Annotated[
        str,
        Option(
            "--model",
            help="SASRecF, or SASRec, which has no item features.  "
            "[default: model of the config files, or SASRecF]",
        ),
        COMPUTED,
    ] = "SASRecF"
    name: Annotated[
        str,
        Option("--study", help="Study name.  [default: DATASET-PARAMSFILE, or DATASET-SASRec-PARAMSFILE]"),
        COMPUTED,
    ]
    out: Out = Path("tuning")
    storage: Storage = None
    metric: Annotated[
        Metric,
        Option(
            "--metric",
            parser=parse_metric,
            help="Validation metric to select by.  [default: valid_metric of the config files, or MRR@10]",
        ),
        COMPUTED,
    ]
    seed: Annotated[
        int,
        Option(
            "--seed",
            min=0,
            max=2**31 - 1,
            help="Seed of the search and of each trial.  [default: seed of the config files, or 2020]",
        ),
        COMPUTED,
    ] = 2020
    search: SearchSettings = SearchSettings()
    earlier_work: EarlierOptions = EarlierOptions()
    workers: Annotated[
        int | None,
        Option(
            "--workers",
            min=1,
            max=1024,
            help="Trials trained at the same time.  "
            "[default: one for each CPU core, fewer beside other programs; "
            "with GPUs --trials-per-gpu for each]",
        ),
    ] = None
    gpus: Annotated[
        tuple[str, ...],
        Option(
            "--gpus",
            metavar="auto|none|0,1",
            parser=parse_gpus,
            help="GPUs, by index or name, assigned to the workers in turn; none: the CPU.",
        ),
    ] = ()
    trials_per_gpu: Annotated[
        int,
        Option(
            "--trials-per-gpu",
            min=1,
            max=64,
            help="Workers per GPU; more than one is faster for small models.",
        ),
    ] = 1
    threads: Annotated[
        int | None,
        Option(
            "--threads",
            min=1,
            max=1024,
            help="CPU threads of a worker; with Ray also the CPUs it reserves.  "
            "[default: OMP_NUM_THREADS, or 1; more if there are fewer workers than free cores]",
        ),
    ] = None
    executor: Annotated[
        Where,
        Option("--executor", help="local: workers on this machine; ray: on the nodes of a Ray cluster."),
    ] = "local"
    address: Annotated[
        str,
        Option(
            "--address",
            metavar="auto|HOST:6379|ray://HOST:10001",
            help="Ray cluster; auto: the one that this machine is a node of.  [default: auto]",
        ),
        COMPUTED,
    ] = "auto"
    fuse: Annotated[
        int,
        Option(
            "--fuse",
            metavar="auto|N",
            parser=parse_fuse,
            help="Trials of the same shapes that a worker trains as one model; auto: by measurement.",
        ),
    ] = 1
    engine: Annotated[
        Engine,
        Option("--engine", help="fast: RecBole's mathematics, optimized; recbole: RecBole's own trainer."),
    ] = "fast"
    log: Annotated[
        list[str],  # `Tracker`, which Typer does not take in a list
        Option(
            "--log",
            metavar="tensorboard|mlflow|wandb",
            help="Log each trial and the results to this tracker; may be repeated.",
        ),
    ] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict, metadata=NO_OPTION)

    @property
    def unit(self) -> float:
        """The unit that RecBole rounds scores to."""
        return self.metric.unit

    def __post_init__(self) -> None:
        decimals = int(self.base.get("metric_decimal_place") or DECIMALS)
        object.__setattr__(self, "metric", replace(self.metric, decimals=decimals))
        for name in self.log:
            if name not in get_args(Tracker):
                raise InputError(
                    f"invalid `--log` value {name!r}{suggest(str(name), get_args(Tracker))}",
                    fix=f"The values are {', '.join(get_args(Tracker))}.",
                )


def out_of_range(settings: RunSettings | SearchSettings) -> str:
    """The name of a setting beyond the limits of its option; "" if there is none."""
    for name, hint in get_type_hints(type(settings), include_extras=True).items():
        value = getattr(settings, name)
        if isinstance(value, SearchSettings) and (found := out_of_range(value)):
            return f"search.{found}"
        if name == "fuse" and not AUTO_FUSE <= value <= MOST_FUSED:
            return name
        for option in getattr(hint, "__metadata__", ()):
            low, high = getattr(option, "min", None), getattr(option, "max", None)
            if isinstance(value, int | float) and not (
                (low is None or low <= value) and (high is None or value <= high)
            ):
                return name
    return ""
