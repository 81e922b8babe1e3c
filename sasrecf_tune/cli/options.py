"""Command-line options: those that the settings' fields declare, and others that several commands share."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import MISSING, fields, is_dataclass
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import typer

from sasrecf_tune.cli import completion
from sasrecf_tune.inputs.durations import format_duration
from sasrecf_tune.inputs.settings import COMPUTED, NO_OPTION, RunSettings

TextFormat = Literal["table", "csv", "json", "markdown", "latex"]
Format = Literal[TextFormat, "html"]
Space = Literal["quickstart", "sasrecf", "full"]  # files in search_spaces/

StudyName = Annotated[
    str | None,
    typer.Argument(
        metavar="STUDY",
        help="Study: its name, or the path of its directory.  [default: the latest]",
        autocompletion=completion.study_names,
    ),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write to this file instead of the screen.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON lines, for programs.")]
# The fields whose options the shell completes.
_COMPLETED = {
    "metric": completion.metrics,
    "model": completion.models,
    "overrides": completion.settings,
    "name": completion.study_names,
    "drop": completion.drops,
    "log": completion.trackers,
}
PerUser = Annotated[
    bool,
    typer.Option("--per-user", help="Write each user's rank of the held-out item and metrics, too."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Delete without asking.")]
# The values of a command's settings options, by field.
Given = dict[str, Any]


def settings_options(
    *names: str, override: bool = False, settings: type = RunSettings
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options that `settings` declares to a command, in the place of its parameter `given`.

    Args:
        *names: The fields whose options the command has, default all.
        override: Whether the options change settings of an existing study. Their default is then None.
        settings: The dataclass whose fields are the options.
    """
    known = {each.name: each for each in parameters(settings, override)}
    options = [known[name] for name in names or known]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def call(**values: Any) -> None:
            given = {each.name: values.pop(each.name) for each in options}
            command(given=given, **values)

        own = inspect.signature(command, eval_str=True).parameters.values()
        flat = [each for one in own for each in (options if one.name == "given" else [one])]
        signature = inspect.Signature([each.replace(kind=Parameter.KEYWORD_ONLY) for each in flat])
        call.__signature__ = signature  # type: ignore[attr-defined]  # Typer reads it
        return call

    return decorate


def parameters(settings: Any, override: bool = False) -> Iterator[Parameter]:
    """Convert the fields of a dataclass to Typer parameters; a dataclass in a field is expanded in place."""
    for field in fields(settings):
        if field.metadata == NO_OPTION:
            continue
        hint = get_type_hints(settings, include_extras=True)[field.name]
        kind, option, *marks = (None, hint) if is_dataclass(hint) else get_args(hint)
        if is_dataclass(option):
            yield from parameters(option, override)
            continue
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if override or COMPUTED in marks:
            kind, default = kind | None, None
        if option.parser:
            kind, default = str | None, _option_text(default)
        option = copy(option)
        option.autocompletion = _COMPLETED.get(field.name)
        if override:
            option.help = re.sub(r"(  \[default: .*])?$", "  [default: as before]", option.help, count=1)
        yield Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if default is MISSING else default,
            annotation=Annotated[kind, option],
        )


def default_options() -> dict[str, Any]:
    """The values of all options of `run` that are not given, by field."""
    found: dict[str, Any] = {}
    for each in parameters(RunSettings):
        option = get_args(each.annotation)[1]
        parsed = option.parser and each.default is not None
        found[each.name] = option.parser(each.default) if parsed else each.default
    return found


def _option_text(value: Any) -> str | None:
    """Format a parsed default as a user would write it."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return ",".join(value) or "auto"
    return format_duration(value) if type(value) is float else str(value)
