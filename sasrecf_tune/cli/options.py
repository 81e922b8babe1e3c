"""Options that several commands take: their spellings, limits and help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sasrecf_tune.inputs.settings import Where

TextFormat = Literal["table", "csv", "json", "markdown", "latex"]
Format = Literal[TextFormat, "html"]

ParamsFile = Annotated[
    Path,
    typer.Option("--params-file", "--params_file", help="The search space, in RecBole's hyper.test format."),
]
Dataset = Annotated[str, typer.Option("--dataset", help="RecBole data set; ml-100k comes with RecBole.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="SASRecF, or SASRec, the same without item features.  "
        "[default: model of the config files, or SASRecF]",
    ),
]
DataPath = Annotated[
    Path | None,
    typer.Option("--data-path", "--data_path", help="Directory that holds DATASET/DATASET.inter and .item."),
]
ConfigFiles = Annotated[
    str,
    typer.Option("--config-files", "--config_files", help="RecBole YAML files, separated by spaces."),
]
Set = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="A RecBole setting for all trials; may be repeated."),
]
Out = Annotated[Path, typer.Option("--out", help="Directory of studies.")]
Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URL",
        envvar="SASRECF_TUNE_STORAGE",
        help="Database (postgresql://, mysql://) in place of SQLite in the study directory.",
    ),
]
StudyName = Annotated[str | None, typer.Argument(metavar="STUDY", help="The study; the latest if left out.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write to this file instead of the screen.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON lines, for programs.")]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        max=1024,
        help="Trials trained at the same time.  [default: --trials-per-gpu for each card of --gpus]",
    ),
]
Gpus = Annotated[
    str,
    typer.Option("--gpus", metavar="auto|none|0,1", help="Cards the workers take in turn; none for the CPU."),
]
TrialsPerGpu = Annotated[
    int,
    typer.Option(
        "--trials-per-gpu",
        min=1,
        max=64,
        help="Workers that share a card; a small model leaves room for more.",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        max=1024,
        help="CPU threads of a worker; with Ray also the CPUs it takes.  "
        "[default: this machine's, shared among the workers; with Ray 1]",
    ),
]
Executor = Annotated[
    Where,
    typer.Option("--executor", help="local: workers on this machine; ray: on the nodes of a Ray cluster."),
]
SameExecutor = Annotated[
    Where | None, typer.Option("--executor", help="local or ray; as before if left out.")
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="auto|HOST:6379|ray://HOST:10001",
        help="The Ray cluster; auto: the one that this machine is a node of.  [default: auto]",
    ),
]
SameAddress = Annotated[
    str | None,
    typer.Option("--address", metavar="auto|HOST:6379|ray://HOST:10001", help="As before if left out."),
]
Fuse = Annotated[
    str,
    typer.Option(
        "--fuse",
        metavar="auto|N",
        help="Trials of the same shapes that a worker trains as one model; auto measures what pays.",
    ),
]
Trials = Annotated[
    int | None,
    typer.Option(
        "--trials",
        "--max_evals",
        min=1,
        help="Trials in all, earlier runs included; without it all of a grid up to 1,000, else 100.",
    ),
]
Timeout = Annotated[
    str | None,
    typer.Option(
        "--timeout",
        metavar="90m",
        help="Time for the search in all (45s, 90m, 2h), earlier runs included; no limit without it.",
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        "--patience",
        min=1,
        help="End the search when so many whole trials' worth of epochs have brought no better result. "
        "Never without it.",
    ),
]
HangTimeout = Annotated[
    str | None,
    typer.Option(
        "--hang-timeout",
        metavar="30m",
        # Off by default: how long an epoch may take depends on the data, and to end one that is merely slow
        # would lose it each time.
        help="End a worker that has said nothing for so long; allow for an epoch and for preparing the data. "
        "Never without it.",
    ),
]
Retries = Annotated[
    int,
    typer.Option(
        "--retries",
        min=0,
        max=100,
        help="How often a trial is tried again whose worker was killed, crashed or was silent.",
    ),
]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="End the search when a trial has failed.")]
Grace = Annotated[
    str,
    typer.Option(
        "--grace",
        metavar="25s",
        help="After SIGTERM the running epochs have so long to end; then their trials are given back.",
    ),
]
CheckpointEvery = Annotated[
    int,
    typer.Option(
        "--checkpoint-every",
        metavar="EPOCHS",
        min=0,
        help="An interrupted trial continues from what is written down so often; 0: it starts anew.",
    ),
]
Confirm = Annotated[
    int,
    typer.Option(
        "--confirm",
        metavar="K",
        min=0,
        max=100,
        help="When the search has ended, train the best K configurations again on fresh seeds.",
    ),
]
ConfirmSeeds = Annotated[
    int,
    typer.Option(
        "--confirm-seeds", metavar="S", min=1, max=1000, help="Seeds that --confirm trains each on."
    ),
]
