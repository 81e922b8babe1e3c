"""Starts searches and confirmations through the command line's code; nothing else in `api` imports `cli`."""

from __future__ import annotations

import inspect
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from rich.console import Console

from sasrecf_tune.analysis.comparison import Comparison
from sasrecf_tune.errors import InputError, suggest
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import STORAGE_VARIABLE, RunSettings
from sasrecf_tune.search.callbacks import Callback
from sasrecf_tune.storage.directory import StudyDirectory, study_directory

Options = Mapping[str, Any]

# Options that the command line takes as text, and Python code as numbers too.
_TEXTS = ("timeout", "hang_timeout", "grace", "keep_paused", "until", "fuse")
_PATHS = ("data_path", "out", "output")
_LISTS = ("config_files", "prior", "import_trials")  # of one or several


def run_settings(space: SearchSpace, config: Options, options: Options) -> RunSettings:
    """The settings of `sasrecf-tune run` with `config` as --set and `options` as its other options.

    Raises:
        InputError: Something given cannot be used.
    """
    from sasrecf_tune.cli import build_settings

    given = dict(options) | {"name": options["study"], "storage": given_address(options["storage"])}
    del given["study"]
    overrides = [f"{key}={_as_yaml(key, value)}" for key, value in config.items()]
    source = {"params_file": Path(space.source), "overrides": overrides}
    parsed = _parse_options("run", given) | source
    return build_settings.run_settings(space, build_settings.read_config(parsed), parsed)


def resumed_settings(study_dir: StudyDirectory, options: Options) -> tuple[RunSettings, SearchSpace]:
    """The settings of the last run of a study, changed by `options` of `sasrecf-tune resume`; and its space.

    Raises:
        InputError: An option cannot be used.
    """
    return _changed_settings(study_dir, "resume", options)


def run_search(
    settings: RunSettings,
    space: SearchSpace,
    callbacks: Sequence[Callback],
    progress: bool,
    fresh: bool = False,
    retry_failed: bool = False,
) -> int:
    """Search; returns the exit code of `sasrecf-tune run`."""
    from sasrecf_tune.cli.deletion import may_delete
    from sasrecf_tune.cli.run import run

    if fresh:
        may_delete(study_directory(settings.out, settings.name), settings.storage, yes=True)
    console = _console(progress)
    return run(settings, space, console, callbacks=callbacks, fresh=fresh, retry_failed=retry_failed)


def delete_study(study_dir: StudyDirectory, storage: str | None) -> None:
    """Delete a study as `sasrecf-tune studies --delete` does, without asking."""
    from sasrecf_tune.cli import deletion

    deletion.delete(study_dir, storage)


def run_confirmation(study_dir: StudyDirectory, options: Options, progress: bool) -> int:
    """Confirm a study with `options` of `sasrecf-tune confirm`; returns its exit code.

    Raises:
        InputError: An option cannot be used.
    """
    from sasrecf_tune.cli.confirm import confirm_study

    numbers = _parse_options("confirm", {name: options[name] for name in ("top", "seeds")})
    others = {name: value for name, value in options.items() if name not in numbers}
    settings, space = _changed_settings(study_dir, "confirm", others)
    return confirm_study(study_dir, settings, space, _console(progress), **numbers)


def run_fit(study_dir: StudyDirectory, options: Options, progress: bool) -> Path:
    """Fit a study with `options` of `sasrecf-tune fit`; returns the model directory.

    Raises:
        InputError: An option cannot be used.
    """
    from sasrecf_tune.cli.fit import fit_study

    given = _parse_options("fit", options)
    fit_study(study_dir, _console(progress), **given)
    output: Path | None = given["output"]
    return study_dir.model if output is None else output.absolute()


def find_model(out: Path, name: str) -> Path:
    """The model directory that `sasrecf-tune recommend` uses for `name`."""
    from sasrecf_tune.cli import recommend

    return recommend.find_model(out, name)


def read_comparison(studies: Sequence[str], out: Path, storage: str | None) -> Comparison:
    """What `sasrecf-tune compare` shows."""
    from sasrecf_tune.cli import compare

    return compare.read_comparison(studies, out, given_address(storage))


def given_address(storage: str | None) -> str | None:
    """The database's address, from the environment where it is not given."""
    return storage or os.environ.get(STORAGE_VARIABLE) or None


def _changed_settings(
    study_dir: StudyDirectory, command: str, options: Options
) -> tuple[RunSettings, SearchSpace]:
    from sasrecf_tune.cli.build_settings import changed_settings

    given = _parse_options(command, options)
    return changed_settings(study_dir, given.pop("storage"), given)


def _as_on_command_line(name: str, value: Any) -> Any:
    if name in _PATHS and isinstance(value, str):
        return Path(value)
    if name in _TEXTS and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value) if isinstance(value, int) else f"{value:f}"
    if name == "gpus" and value is not None and not isinstance(value, str):
        return ",".join(map(str, [value] if isinstance(value, int) else value))
    if name in _LISTS:
        return [str(file) for file in ([value] if isinstance(value, str | Path) else value)]
    if name == "log" and value is not None:
        return list(value) if isinstance(value, list | tuple) else [str(value)]
    return value


def _parse_options(command: str, options: Options) -> dict[str, Any]:
    """Convert and check `options` as the command line does: choices, limits, parsers."""
    from sasrecf_tune.cli import app

    known = inspect.signature(getattr(app, command)).parameters
    parsed = {name: _as_on_command_line(name, value) for name, value in options.items()}
    for field, value in parsed.items():
        name = "study" if field == "name" else field
        kind, option = get_args(known[field].annotation)[:2]
        kinds = get_args(kind) if NoneType in get_args(kind) else (kind,)
        if value is None and NoneType in kinds:
            continue
        for choices in (get_args(one) for one in kinds if get_origin(one) is Literal):
            if value not in choices:
                near = suggest(str(value), choices)
                raise InputError(f"{value!r} is none of {', '.join(choices)}{near}", where=name)
        low, high = getattr(option, "min", None), getattr(option, "max", None)
        if (low is not None and value < low) or (high is not None and value > high):
            limits = f"at least {low}" if high is None else f"{low} to {high}"
            raise InputError(f"{value!r} is out of range", where=name, fix=f"Give {limits}.")
        if getattr(option, "parser", None) is not None:
            parsed[field] = option.parser(value)
    return parsed


def _as_yaml(key: str, value: Any) -> str:
    try:
        return json.dumps(value, default=lambda other: other.tolist())  # NumPy's numbers and arrays
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{value!r} cannot be a RecBole setting", where=f"config: {key}") from error


def _console(progress: bool) -> Console:
    from sasrecf_tune.report.terminal.console import SafeConsole, make_console
    from sasrecf_tune.report.terminal.notebook import NotebookConsole, in_notebook

    if not progress:
        # Not a terminal, even where FORCE_COLOR is set, as Jupyter does: a live view would take the output.
        return SafeConsole(file=io.StringIO(), quiet=True, force_jupyter=False, force_terminal=False)
    return NotebookConsole() if in_notebook() else make_console()
