"""The command line: one function a command, each parses and makes one call."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from sasrecf_tune import __version__
from sasrecf_tune.cli.options import (
    Address,
    AsJson,
    CheckpointEvery,
    ConfigFiles,
    Confirm,
    ConfirmSeeds,
    DataPath,
    Dataset,
    Executor,
    FailFast,
    Format,
    Fuse,
    Gpus,
    Grace,
    HangTimeout,
    Model,
    Out,
    Output,
    ParamsFile,
    Patience,
    Retries,
    SameAddress,
    SameExecutor,
    Set,
    Storage,
    StudyName,
    TextFormat,
    Threads,
    Timeout,
    Trials,
    TrialsPerGpu,
    Workers,
)
from sasrecf_tune.errors import Interrupted, TuneError
from sasrecf_tune.inputs.settings import SEEDS, Engine, Pruner, Sampler
from sasrecf_tune.report.terminal.console import make_console

app = typer.Typer(
    name="sasrecf-tune",
    help="Tune SASRecF, RecBole's self-attentive sequential recommender with item features, or SASRec.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sasrecf-tune {__version__}")
        raise typer.Exit


@app.callback()
def _app(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Tune SASRecF, RecBole's self-attentive sequential recommender with item features, or SASRec."""


@app.command()
def run(
    params_file: ParamsFile,
    dataset: Dataset = "ml-100k",
    data_path: DataPath = None,
    config_files: ConfigFiles = "",
    set_: Set = [],  # noqa: B006  # typer reads the default; nothing changes it
    model: Model = None,
    study: Annotated[
        str | None,
        typer.Option(
            "--study", help="The study's name.  [default: DATASET-PARAMSFILE, or DATASET-SASRec-PARAMSFILE]"
        ),
    ] = None,
    out: Out = Path("tuning"),
    storage: Storage = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            help="Validation metric to select by.  [default: valid_metric of the config files, or MRR@10]",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            min=0,
            max=2**31 - 1,
            help="Seed of the search and of each trial.  [default: seed of the config files, or 2020]",
        ),
    ] = None,
    sampler: Annotated[
        Sampler,
        typer.Option("--sampler", help="auto: best-first, a model of the results says what is next."),
    ] = "auto",
    pruner: Annotated[
        Pruner, typer.Option("--pruner", help="auto: forecast, by what like trials gained later.")
    ] = "auto",
    trials: Trials = None,
    timeout: Timeout = None,
    patience: Patience = None,
    hang_timeout: HangTimeout = None,
    retries: Retries = 1,
    fail_fast: FailFast = False,
    grace: Grace = "25s",
    checkpoint_every: CheckpointEvery = 0,
    confirm: Confirm = 0,
    confirm_seeds: ConfirmSeeds = SEEDS,
    workers: Workers = None,
    gpus: Gpus = "auto",
    trials_per_gpu: TrialsPerGpu = 1,
    threads: Threads = None,
    executor: Executor = "local",
    address: Address = None,
    fuse: Fuse = "1",
    engine: Annotated[
        Engine,
        typer.Option("--engine", help="fast: RecBole's mathematics, sooner; recbole: its own trainer."),
    ] = "fast",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and an estimate of the time; train nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Search, and end with the ranked table. The same command again continues the study."""
    from sasrecf_tune.cli import run as runs
    from sasrecf_tune.cli.arguments import read_space, run_settings

    space = read_space(params_file, config_files, set_, model)
    settings = run_settings(
        params_file=params_file,
        space=space,
        dataset=dataset,
        data_path=data_path,
        config_files=config_files,
        overrides=set_,
        model=model,
        study=study,
        out=out,
        storage=storage,
        metric=metric,
        seed=seed,
        sampler=sampler,
        pruner=pruner,
        trials=trials,
        timeout=timeout,
        patience=patience,
        hang_timeout=hang_timeout,
        retries=retries,
        fail_fast=fail_fast,
        grace=grace,
        checkpoint_every=checkpoint_every,
        confirm=confirm,
        confirm_seeds=confirm_seeds,
        workers=workers,
        gpus=gpus,
        trials_per_gpu=trials_per_gpu,
        threads=threads,
        executor=executor,
        address=address,
        fuse=fuse,
        engine=engine,
    )
    start = runs.dry_run if dry_run else runs.run
    _exit_with(lambda: start(settings, space, make_console(), as_json=as_json))


@app.command()
def resume(
    study: StudyName = None,
    out: Out = Path("tuning"),
    storage: Storage = None,
    trials: Trials = None,
    timeout: Timeout = None,
    patience: Patience = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option("--checkpoint-every", metavar="EPOCHS", min=0, help="As before if left out."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, max=1024, help="As before if left out.")
    ] = None,
    executor: SameExecutor = None,
    address: SameAddress = None,
    as_json: AsJson = False,
) -> None:
    """Continue a study as it was last run. Options given here replace the earlier ones."""
    from sasrecf_tune.cli import run as runs
    from sasrecf_tune.cli.arguments import with_executor
    from sasrecf_tune.inputs.settings import parse_duration
    from sasrecf_tune.storage.directory import find_study
    from sasrecf_tune.storage.manifest import settings_from

    settings, space = settings_from(find_study(out, study))
    search = replace(
        settings.search,
        trials=trials if trials is not None else settings.search.trials,
        timeout=parse_duration(timeout) if timeout else settings.search.timeout,
        patience=patience if patience is not None else settings.search.patience,
        checkpoint_every=(
            checkpoint_every if checkpoint_every is not None else settings.search.checkpoint_every
        ),
    )
    settings = replace(
        settings,
        search=search,
        storage=settings.database(storage),
        workers=workers or settings.workers,
    )
    settings = with_executor(settings, executor, address)
    _exit_with(lambda: runs.run(settings, space, make_console(), as_json=as_json))


@app.command()
def confirm(
    study: StudyName = None,
    top: Annotated[
        int | None,
        typer.Option(
            "--top", metavar="K", min=1, max=100, help="Configurations.  [default: as before, or 5]"
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            metavar="S",
            min=1,
            max=1000,
            help="Fresh seeds for each of them.  [default: as before, or 5]",
        ),
    ] = None,
    out: Out = Path("tuning"),
    storage: Storage = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, max=1024, help="As before if left out.")
    ] = None,
    executor: SameExecutor = None,
    address: SameAddress = None,
    as_json: AsJson = False,
) -> None:
    """Train the best configurations again on fresh seeds, and say which can be told apart.

    The same command again continues; more seeds or configurations are added to what is there.
    """
    from sasrecf_tune.cli.arguments import with_executor
    from sasrecf_tune.cli.confirm import confirm_study
    from sasrecf_tune.storage.directory import find_study
    from sasrecf_tune.storage.manifest import settings_from

    study_dir = find_study(out, study)
    settings, space = settings_from(study_dir)
    settings = replace(settings, storage=settings.database(storage), workers=workers or settings.workers)
    settings = with_executor(settings, executor, address)
    _exit_with(
        lambda: confirm_study(
            study_dir, settings, space, make_console(), top=top, seeds=seeds, as_json=as_json
        )
    )


@app.command()
def report(
    study: StudyName = None,
    out: Out = Path("tuning"),
    storage: Storage = None,
    top: Annotated[int, typer.Option("--top", min=0, help="Rows to show, 0 for all.")] = 20,
    filter_: Annotated[
        list[str],
        typer.Option(
            "--filter",
            metavar="NAME=VALUE",
            help="Only trials with this value of a parameter or this state; may be repeated.",
        ),
    ] = [],  # noqa: B006  # typer reads the default; nothing changes it
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort",
            metavar="NAME",
            help="score, seconds, a parameter, ...; -NAME turns it round.  [default: score]",
        ),
    ] = None,
    format: Annotated[
        Format,
        typer.Option("--format", help="How to print it; html is written to report.html of the study."),
    ] = "table",
    output: Output = None,
    show_test: Annotated[
        bool, typer.Option("--show-test", help="Show test metrics of all trials; not to choose by.")
    ] = False,
) -> None:
    """Print the ranked table of a study, and below it what its confirmation says.

    Pruned and failed trials stand at the end of the table, without a rank.
    """
    from sasrecf_tune.cli.study_commands import report_study

    report_study(out, study, storage, top, format, output, show_test, filter_, sort)


@app.command()
def compare(
    studies: Annotated[
        list[str],
        typer.Argument(metavar="STUDY...", help="Two studies or more: names, or their directories."),
    ],
    out: Out = Path("tuning"),
    storage: Storage = None,
    format: Annotated[TextFormat, typer.Option("--format", help="How to print it.")] = "table",
    output: Output = None,
) -> None:
    """Put studies side by side: the best of each on fresh seeds, which can be told apart, and what they took.

    Such as SASRecF against RecBole's SASRec (run --model SASRec), both searched and confirmed alike.
    """
    from sasrecf_tune.cli.compare import compare_studies

    compare_studies(studies, out, storage, format, output)


@app.command()
def best(
    study: StudyName = None, out: Out = Path("tuning"), storage: Storage = None, output: Output = None
) -> None:
    """Print a RecBole config file that reproduces the best trial, or the confirmed one."""
    from sasrecf_tune.cli.study_commands import best_config

    best_config(out, study, storage, output)


@app.command()
def reproduce(
    study: StudyName = None,
    out: Out = Path("tuning"),
    storage: Storage = None,
    data_path: Annotated[
        Path | None,
        typer.Option("--data-path", "--data_path", help="Where the data lies now.  [default: as before]"),
    ] = None,
    gpus: Annotated[
        str | None, typer.Option("--gpus", metavar="auto|none|0", help="As before if left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train what best.yaml holds once more, and compare every metric with what was recorded.

    Ends with 0 when all are the same to the last digit, with 1 when not: it then says what else differs.
    """
    from sasrecf_tune.cli.arguments import parse_gpus
    from sasrecf_tune.cli.reproduce import reproduce_study
    from sasrecf_tune.storage.directory import find_study

    study_dir = find_study(out, study)
    cards = None if gpus is None else parse_gpus(gpus)
    _exit_with(
        lambda: reproduce_study(
            study_dir, make_console(), storage=storage, data_path=data_path, gpus=cards, as_json=as_json
        ),
        stopped="stopped; a result that is not whole is not kept.",
    )


@app.command()
def check(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The search space, in RecBole's hyper.test format.")
    ],
    dataset: Dataset = "ml-100k",
    data_path: DataPath = None,
    config_files: ConfigFiles = "",
    set_: Set = [],  # noqa: B006  # typer reads the default; nothing changes it
    model: Model = None,
    syntax_only: Annotated[
        bool, typer.Option("--syntax-only", help="Look at the file alone, not at the data set.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check a search space and count its configurations. Trains nothing."""
    from sasrecf_tune.cli.study_commands import check_file

    check_file(file, dataset, data_path, config_files, set_, model, syntax_only, as_json)


@app.command()
def studies(out: Out = Path("tuning"), as_json: AsJson = False) -> None:
    """List the studies, the one worked on last first."""
    from sasrecf_tune.cli.study_commands import list_studies

    list_studies(out, as_json)


@app.command()
def dashboard(
    study: StudyName = None,
    out: Out = Path("tuning"),
    storage: Storage = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Where to listen; 0 for any free port.")
    ] = 8080,
) -> None:
    """Show a study in optuna-dashboard, in a browser on this machine. Ctrl-C ends it."""
    from sasrecf_tune.cli.dashboard import serve

    raise typer.Exit(serve(out, study, storage, port, make_console()))


@app.command()
def doctor(out: Out = Path("tuning"), as_json: AsJson = False) -> None:
    """Look for what could keep a search from working here; trains two steps."""
    from sasrecf_tune.cli.doctor import run_doctor

    raise typer.Exit(run_doctor(out, make_console(), as_json))


def _exit_with(
    work: Callable[[], int],
    stopped: str = "stopped at once; what had ended is kept. The same command goes on.",
) -> None:
    # A scheduler's signal is as Ctrl-C: what was begun is put in order. The search has its own way with both.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = work()
    except KeyboardInterrupt:  # Typer would end without a word
        Console(stderr=True).print(stopped, highlight=False)
        code = Interrupted.exit_code
    finally:
        signal.signal(signal.SIGTERM, before)
    raise typer.Exit(code)


def main() -> None:
    """Run the command line and exit; an error of ours is printed, never a traceback."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except TuneError as error:
        sys.stdout.flush()
        Console(stderr=True).print(
            Text("\n\n").join(Text.assemble(("error: ", "bold red"), text) for text in error.texts),
            soft_wrap=True,
            highlight=False,
        )
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing is wrong, and nothing more can be printed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        # The screen's, mostly: output sent to a full disk. What is left of it must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        where = f"{error.filename}: " if error.filename else ""
        Console(stderr=True).print(
            Text.assemble(("error: ", "bold red"), f"{where}{error.strerror or error}"),
            soft_wrap=True,
            highlight=False,
        )
        sys.exit(TuneError.exit_code)
