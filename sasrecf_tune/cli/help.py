"""Commands: help texts with options in groups, whole summaries, and plain errors for invalid values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperCommand
from typing_extensions import override

from sasrecf_tune.cli.usage_errors import value_error
from sasrecf_tune.errors import InputError

# The groups of the options of `run`: a title, an example, and the fields. Other commands, which have fewer
# options, list them without groups.
GROUPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "What to tune": (
        "--params-file hyper.test --dataset ml-100k --set epochs=50",
        ("params_file", "dataset", "data_path", "config_files", "overrides", "model"),
    ),
    "Search": (
        "--metric NDCG@10 --seed 7 --confirm 5",
        ("metric", "seed", "sampler", "pruner", "confirm", "confirm_seeds", "per_user"),
    ),
    "Earlier work": ("--prior first --import-trials hyper.result", ("prior", "import_trials", "trust")),
    "Budget": ("--trials 50 --timeout 2h", ("trials", "timeout", "until", "patience")),
    "Machine": (
        "--gpus 0,1 --trials-per-gpu 2",
        (
            *("workers", "threads", "gpus", "trials_per_gpu", "executor", "address"),
            *("fuse", "engine"),
        ),
    ),
    "Output": (
        "--study first --out results",
        ("name", "out", "storage", "log", "fresh", "yes", "dry_run", "as_json"),
    ),
    "Faults": (
        "--checkpoint-every 1 --hang-timeout 30m",
        ("retries", "fail_fast", "hang_timeout", "grace", "checkpoint_every", "keep_paused", "help"),
    ),
}
# The same for `import`.
IMPORT_GROUPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "Columns of interactions": (
        "ratings.csv --user userId --item movieId --time timestamp",
        ("user", "item", "time", "time_format", "rating", "min_rating"),
    ),
    "Items": (
        "ratings.csv --items movies.csv --feature 'genres:token_seq:|'",
        ("items", "item_key", "features"),
    ),
    "Rows": ("ratings.csv --min-rating 4 --drop missing --drop duplicates", ("drop",)),
    "Text files": (
        "ratings.dat --separator '::' --no-header --encoding latin-1",
        ("separator", "encoding", "header", "quotes"),
    ),
    "Output": (
        "ratings.csv --out data/movies --dry-run",
        ("interactions", "out", "force", "dry_run", "as_json", "help"),
    ),
}
WIDEST = 110


class Command(TyperCommand):
    """A command whose summary in the list of commands is its whole first sentence."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.context_settings.setdefault("max_content_width", WIDEST)

    @override
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            if plain := value_error(error):
                raise plain from None
            raise

    @override
    def get_short_help_str(self, limit: int = 0) -> str:
        return re.sub(r"\s+", " ", re.split(r"(?<=\.)\s", self.help or "", maxsplit=1)[0]).rstrip(".")


class GroupedCommand(Command):
    """A command that lists its options in `groups`."""

    groups: Mapping[str, tuple[str, tuple[str, ...]]] = GROUPS

    @override
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            # Of the kinds of this error, one is a required option that is missing.
            missing = type(error).__name__ == "MissingParameter"
            if missing and error.param is not None and error.param.name == "params_file":
                raise InputError(
                    "run needs a search space: --params-file FILE",
                    fix="`sasrecf-tune init` writes one to begin with: quickstart.test.",
                ) from None
            raise

    @override
    def format_options(self, ctx: Any, formatter: Any) -> None:
        records = {each.name: each.get_help_record(ctx) for each in self.get_params(ctx)}
        for title, (example, names) in self.groups.items():
            with formatter.section(f"{title}, such as {example}"):
                formatter.write_dl([records.pop(name) for name in names if name in records])
        if records:
            with formatter.section("Other options"):
                formatter.write_dl(list(records.values()))


class ImportCommand(GroupedCommand):
    """`import`."""

    groups = IMPORT_GROUPS
