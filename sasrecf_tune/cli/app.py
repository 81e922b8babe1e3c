"""The command line: one function for each command, which parses its options and makes one call."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.text import Text

from sasrecf_tune import __version__
from sasrecf_tune.cli import completion
from sasrecf_tune.cli.help import WIDEST, Command, ImportCommand
from sasrecf_tune.cli.options import (
    AsJson,
    Format,
    Given,
    Output,
    PerUser,
    Space,
    StudyName,
    TextFormat,
    Yes,
    settings_options,
)
from sasrecf_tune.cli.recbole_options import CheckCommand, Commands, RunCommand
from sasrecf_tune.errors import InputError, Interrupted, TuneError, long_name_error
from sasrecf_tune.inputs.import_settings import ImportSettings
from sasrecf_tune.inputs.settings import Out, Storage
from sasrecf_tune.messages import TrainOn
from sasrecf_tune.report.terminal.closed_output import allow_closed_output, discard_output
from sasrecf_tune.report.terminal.console import ignore_unknown_width, make_console
from sasrecf_tune.report.terminal.encoding import allow_any_text

app = typer.Typer(
    name="sasrecf-tune",
    cls=Commands,
    help="Tune SASRecF, RecBole's self-attentive sequential recommender with item features, or SASRec.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"max_content_width": WIDEST},
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


@app.command(cls=Command)
def init(
    space: Annotated[
        Space,
        typer.Argument(
            metavar="SPACE",
            help="quickstart: minutes on a CPU; sasrecf: RecBole's documentation; full: all parameters.",
        ),
    ] = "quickstart",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a search space to begin with, with comments, to SPACE.test in this directory."""
    from sasrecf_tune.cli.init import write_space

    write_space(space, force)


@app.command("import", cls=ImportCommand)
@settings_options(settings=ImportSettings)
def import_(
    *,
    interactions: Annotated[
        Path,
        typer.Argument(
            metavar="INTERACTIONS",
            help="Table of users, items and times: CSV, TSV, JSON lines or Parquet; also compressed.",
        ),
    ],
    given: Given,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what is understood of the tables; write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Convert a table of interactions, and one of items, to a data set for `run`.

    The columns, their kinds and the layouts of MovieLens and of Amazon reviews are recognized. What was
    understood is printed before anything is written. Rows are left out only if told to.
    """
    from sasrecf_tune.cli.import_data import import_tables

    _exit_with(
        lambda: import_tables(interactions, given, dry_run, as_json),
        stopped="Stopped. Nothing was written.",
    )


@app.command(cls=RunCommand)
@settings_options()
def run(
    *,
    given: Given,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and a time estimate; train nothing.")
    ] = False,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Delete the study of this name first, and start again; asks, or --yes."),
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Search, and print the ranked table. The same command again continues the study."""
    from sasrecf_tune.cli import run as runs
    from sasrecf_tune.cli.build_settings import read_inputs, run_settings
    from sasrecf_tune.cli.deletion import may_delete
    from sasrecf_tune.storage.directory import study_directory

    space, config = read_inputs(given["params_file"], given)
    settings = run_settings(space, config, given)
    if dry_run:
        _exit_with(lambda: runs.dry_run(settings, space, make_console(), as_json=as_json))
    if fresh and not may_delete(study_directory(settings.out, settings.name), settings.storage, yes):
        raise typer.Exit(1)
    _exit_with(lambda: runs.run(settings, space, make_console(), as_json=as_json, fresh=fresh))


@app.command(cls=Command)
@settings_options(
    "trials",
    "timeout",
    "patience",
    "until",
    "grace",
    "checkpoint_every",
    "keep_paused",
    "workers",
    "gpus",
    "threads",
    "executor",
    "address",
    "log",
    override=True,
)
def resume(
    *,
    study: StudyName = None,
    out: Out = Path("tuning"),
    storage: Storage = None,
    given: Given,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Train the failed trials again, with the same seeds.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Continue a study with its last settings. Options given here replace them."""
    from sasrecf_tune.cli import run as runs
    from sasrecf_tune.cli.build_settings import study_settings

    _, settings, space = study_settings(out, study, storage, given)
    _exit_with(lambda: runs.run(settings, space, make_console(), as_json=as_json, retry_failed=retry_failed))


@app.command(cls=Command)
@settings_options("workers", "gpus", "threads", "executor", "address", "per_user", override=True)
def confirm(
    *,
    study: StudyName = None,
    top: Annotated[
        int | None,
        typer.Option(
            "--top", metavar="K", min=1, max=100, help="Number of configurations.  [default: as before, or 5]"
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            metavar="S",
            min=1,
            max=1000,
            help="Fresh seeds per configuration.  [default: as before, or 5]",
        ),
    ] = None,
    out: Out = Path("tuning"),
    storage: Storage = None,
    given: Given,
    as_json: AsJson = False,
) -> None:
    """Train the best configurations again on fresh seeds, and test which differ significantly.

    The same command again continues; more seeds or configurations are added to the existing runs.
    """
    from sasrecf_tune.cli.build_settings import study_settings
    from sasrecf_tune.cli.confirm import confirm_study

    study_dir, settings, space = study_settings(out, study, storage, given)
    _exit_with(
        lambda: confirm_study(
            study_dir, settings, space, make_console(), top=top, seeds=seeds, as_json=as_json
        )
    )


@app.command(cls=Command)
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
            autocompletion=completion.filters,
            help="Show only trials with this value of a parameter or this state; may be repeated.",
        ),
    ] = [],  # noqa: B006  # typer reads the default; nothing changes it
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort",
            metavar="NAME",
            autocompletion=completion.sort_columns,
            help="score, seconds, a parameter, ...; -NAME reverses the order.  [default: score]",
        ),
    ] = None,
    format: Annotated[
        Format, typer.Option("--format", help="Output format; html is written to the study's report.html.")
    ] = "table",
    output: Output = None,
    show_test: Annotated[
        bool, typer.Option("--show-test", help="Show test metrics of all trials; do not select by them.")
    ] = False,
    per_user: Annotated[
        Path | None,
        typer.Option(
            "--per-user",
            metavar="FILE",
            help="Write the metrics of users of all runs that have them to this CSV or Parquet file instead.",
        ),
    ] = None,
) -> None:
    """Print the ranked table of a study and the results of its confirmation.

    Pruned and failed trials are at the end of the table, without a rank.
    """
    from sasrecf_tune.cli.study_commands import export_users, report_study

    if per_user is not None:
        if filter_ or sort or output or show_test or format != "table":
            raise InputError(
                "`--per-user` is used alone", fix="It writes no report: remove the other options."
            )
        export_users(out, study, storage, per_user)
        return
    report_study(out, study, storage, top, format, output, show_test, filter_, sort)


@app.command(cls=Command)
def compare(
    studies: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY...",
            help="Two or more studies: names or directories.",
            autocompletion=completion.study_names,
        ),
    ],
    out: Out = Path("tuning"),
    storage: Storage = None,
    format: Annotated[TextFormat, typer.Option("--format", help="Output format.")] = "table",
    output: Output = None,
) -> None:
    """Compare studies: the best of each on fresh seeds, which differ significantly, and what they cost.

    Example: SASRecF and RecBole's SASRec (run --model SASRec), both searched and confirmed the same way.
    """
    from sasrecf_tune.cli.compare import compare_studies

    compare_studies(studies, out, storage, format, output)


@app.command(cls=Command)
def best(
    study: StudyName = None, out: Out = Path("tuning"), storage: Storage = None, output: Output = None
) -> None:
    """Print a RecBole config file that reproduces the best trial, or the confirmed one."""
    from sasrecf_tune.cli.study_commands import best_config

    best_config(out, study, storage, output)


@app.command(cls=Command)
@settings_options("data_path", "gpus", override=True)
def reproduce(
    *,
    study: StudyName = None,
    out: Out = Path("tuning"),
    storage: Storage = None,
    given: Given,
    per_user: PerUser = False,
    as_json: AsJson = False,
) -> None:
    """Train the configuration of best.yaml again, and compare every metric with the recorded one.

    The exit code is 0 if all are identical, else 1; other differences, such as versions, are then listed.
    """
    from sasrecf_tune.cli.reproduce import reproduce_study
    from sasrecf_tune.storage.directory import find_study

    study_dir = find_study(out, study)
    _exit_with(
        lambda: reproduce_study(
            study_dir, make_console(), storage=storage, **given, per_user=per_user, as_json=as_json
        ),
        stopped="Stopped. The incomplete result is discarded.",
    )


@app.command(cls=Command)
@settings_options("data_path", "gpus", override=True)
def fit(
    *,
    study: StudyName = None,
    on: Annotated[
        TrainOn,
        typer.Option(
            "--on", help="Parts of the data to train on; with `all` no score of the model can be measured."
        ),
    ] = "train+valid",
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, max=2**32 - 1, help="Seed.  [default: that of best.yaml]"),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds",
            min=1,
            max=32,
            help="Number of models, with consecutive seeds; their scores are averaged.",
        ),
    ] = 1,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Directory to write.  [default: STUDY/model]"),
    ] = None,
    out: Out = Path("tuning"),
    storage: Storage = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            help="Another data set with the same columns.  [default: that of the study]",
        ),
    ] = None,
    given: Given,
    per_user: PerUser = False,
    as_json: AsJson = False,
) -> None:
    """Train the configuration of best.yaml for use, and write a model directory for `recommend`.

    On train+valid and all, the number of epochs is the best one of the search or the confirmation.
    New data with the same columns are named by --data-path or --dataset.
    """
    from sasrecf_tune.cli.fit import fit_study
    from sasrecf_tune.storage.directory import find_study

    study_dir = find_study(out, study)
    _exit_with(
        lambda: fit_study(
            study_dir,
            make_console(),
            on=on,
            seed=seed,
            seeds=seeds,
            output=output,
            storage=storage,
            dataset=dataset,
            **given,
            per_user=per_user,
            as_json=as_json,
        ),
        stopped="Stopped. Nothing was written.",
    )


@app.command(cls=Command)
@settings_options("user", "item", "time", settings=ImportSettings)
def recommend(
    *,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="A study that `fit` was run on, or a model directory.  [default: the latest study]",
            autocompletion=completion.study_names,
        ),
    ] = None,
    top: Annotated[int, typer.Option("--top", metavar="K", min=1, help="Items per user.")] = 10,
    users: Annotated[
        str | None,
        typer.Option(
            "--users",
            metavar="FILE|IDS",
            help="Users: ids with commas between them, or a file with one a line.  [default: all]",
        ),
    ] = None,
    histories: Annotated[
        Path | None,
        typer.Option(
            "--histories",
            metavar="FILE",
            help="Other histories: a table as `import` reads it, with a time or in time order.",
        ),
    ] = None,
    given: Given,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Recommend items of the user's own history, too.")
    ] = False,
    export_items: Annotated[
        Path | None,
        typer.Option(
            "--export-items",
            metavar="FILE",
            help="Write all items' vectors to this npz or Parquet file instead; recommend nothing.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="CSV or Parquet file to write instead of the screen."
        ),
    ] = None,
    out: Out = Path("tuning"),
) -> None:
    """Recommend items, with a model that `fit` wrote: a table of user, item, rank and score.

    Items that a user has seen are left out. A table for --histories has a row for each interaction.
    """
    from sasrecf_tune.cli import recommend as recommending

    columns = {role: name for role, name in given.items() if name is not None}

    def work() -> int:
        if export_items is not None:
            if users or histories or output or include_seen or columns:
                raise InputError(
                    "`--export-items` is used alone", fix="It recommends nothing: remove the other options."
                )
            recommending.export_items(out, model, export_items)
        else:
            recommending.recommend(
                out,
                model,
                top=top,
                users=users,
                histories=histories,
                columns=columns,
                include_seen=include_seen,
                output=output,
            )
        return 0

    _exit_with(work, stopped="Stopped. No file was written.")


@app.command(cls=CheckCommand)
@settings_options(
    *("dataset", "data_path", "config_files", "overrides", "model", "metric", "out"),
    *("prior", "import_trials", "trust"),
)
def check(
    *,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Search space in RecBole's hyper.test format.")
    ],
    given: Given,
    syntax_only: Annotated[
        bool, typer.Option("--syntax-only", help="Check only the file, without the data set.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check a search space and count its configurations. Trains nothing."""
    from sasrecf_tune.cli.check import check_file

    check_file(file, given, syntax_only, as_json)


@app.command(cls=Command)
def studies(
    out: Out = Path("tuning"),
    delete: Annotated[
        str | None,
        typer.Option(
            "--delete",
            metavar="STUDY",
            help="Delete this study, its files and its trials; asks, or --yes.",
            autocompletion=completion.study_names,
        ),
    ] = None,
    yes: Yes = False,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """List the studies, the most recent first, or delete one."""
    from sasrecf_tune.cli.deletion import delete_command
    from sasrecf_tune.cli.study_commands import list_studies

    if delete is not None:
        raise typer.Exit(delete_command(out, delete, storage, yes))
    list_studies(out, as_json)


@app.command(cls=Command)
def dashboard(
    study: StudyName = None,
    out: Out = Path("tuning"),
    storage: Storage = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0: any free port.")
    ] = 8080,
) -> None:
    """Serve optuna-dashboard for a study on this machine. Ctrl-C stops it."""
    from sasrecf_tune.cli.dashboard import serve

    raise typer.Exit(serve(out, study, storage, port, make_console()))


@app.command(cls=Command)
def doctor(out: Out = Path("tuning"), as_json: AsJson = False) -> None:
    """Check that this machine can run a search; trains two steps."""
    from sasrecf_tune.cli.doctor import run_doctor

    raise typer.Exit(run_doctor(out, make_console(), as_json))


def _exit_with(
    work: Callable[[], int], stopped: str = "Stopped. Completed trials are kept; the same command continues."
) -> NoReturn:
    from sasrecf_tune.cli.signals import interrupted_by_signals

    # The search installs its own handlers.
    with interrupted_by_signals():
        try:
            code = work()
        except KeyboardInterrupt:  # Typer would exit without a message
            make_console(sys.stderr).print(stopped, highlight=False)
            code = Interrupted.exit_code
    raise typer.Exit(code)


def main() -> None:
    """Run the command line and exit. A user error is printed without a traceback."""
    allow_closed_output()
    allow_any_text()
    ignore_unknown_width()
    try:
        try:
            _check_working_directory()
            app()
        finally:
            sys.stdout.flush()
    except TuneError as error:
        sys.stdout.flush()
        _print_error(*error.texts)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            _print_error(*long_name_error(error).texts)
            sys.exit(InputError.exit_code)
        # Mostly a write to standard output, redirected to a full disk.
        discard_output(sys.stdout.fileno())  # what is still buffered must not fail again at exit
        _print_error(f"{f'{error.filename}: ' if error.filename else ''}{error.strerror or error}")
        sys.exit(TuneError.exit_code)


def _check_working_directory() -> None:
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise InputError("the working directory was removed", fix="Change to one that exists.") from error


def _print_error(*texts: str) -> None:
    text = Text("\n\n").join(Text.assemble(("error: ", "bold red"), text) for text in texts)
    try:
        make_console(sys.stderr).print(text, soft_wrap=True, highlight=False)
        sys.stderr.flush()
    except OSError:
        # A full disk; what is still buffered must not fail again at exit, which has a code of its own.
        discard_output(sys.stderr.fileno())
