"""Takes the options of RecBole's run_hyper.py: `--KEY=VALUE` is `--set KEY=VALUE`; others get an error.

Source: RecBole's run_hyper.py and run_recbole.py; recbole/config/configurator.py, _load_cmd_line.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from typer.core import TyperCommand, TyperGroup
from typing_extensions import override

from sasrecf_tune.cli.help import Command, GroupedCommand
from sasrecf_tune.errors import InputError, InputErrors
from sasrecf_tune.inputs.hyperparameters import MODELS, TABLE
from sasrecf_tune.inputs.name_matching import misspelt
from sasrecf_tune.inputs.other_names import NOT_SETTINGS, OURS
from sasrecf_tune.inputs.recbole_keys import recbole_keys

_SAMPLERS = {"exhaustive": "grid", "grid": "grid", "bayes": "tpe", "tpe": "tpe", "random": "random"}


class _Replaced(NamedTuple):
    """What replaces an option of RecBole's scripts, and the option of ours that takes its value, if any."""

    why: str
    option: str = ""


_IN_STUDY = "results are written to the study directory; `report --output FILE` writes a table of them"
_OLD_NEGATIVES = "RecBole 1.2.1 has train_neg_sample_args instead, which follows loss_type here"
_ONE_PROCESS = "a trial is trained by one process; --workers trains several trials at the same time"
_REPLACED: Mapping[str, _Replaced] = {
    "output_file": _Replaced(_IN_STUDY),
    "display_file": _Replaced("report.html in the study directory shows the search"),
    "hyper_results": _Replaced(_IN_STUDY),
    "output_path": _Replaced("`--out` is the directory of studies", "--out"),
    "study_name": _Replaced("`--study` is the name of a study", "--study"),
    "tool": _Replaced("the search is done by Optuna; `--executor ray` trains on a Ray cluster"),
    "algo": _Replaced("`--sampler` selects the algorithm", "--sampler"),
    "early_stop": _Replaced("`--patience` ends a search that no longer improves", "--patience"),
    "num_samples": _Replaced("`--trials` limits the number of trials", "--trials"),
    "n_trials": _Replaced("`--trials` limits the number of trials", "--trials"),
    "max_evals": _Replaced("`--trials` limits the number of trials", "--trials"),
    "config_file": _Replaced("`--config-files` names the config files", "--config-files"),
    "config_file_list": _Replaced("`--config-files` names the config files", "--config-files"),
    "params": _Replaced("`--params-file` names the params file", "--params-file"),
    "saved": _Replaced("the weights of each complete trial are kept until the search has a better one"),
    **dict.fromkeys(("neg_sampling", "training_neg_sample_num"), _Replaced(_OLD_NEGATIVES)),
    **dict.fromkeys(("nproc", "ip", "port", "world_size", "group_offset"), _Replaced(_ONE_PROCESS)),
}


class RecBoleOptions(TyperCommand):
    """A command with `--set` that takes `--KEY=VALUE` too."""

    @override
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            own = {name for param in self.params for name in (*param.opts, *param.secondary_opts)}
            args = _translate(args, own | {"--help"}, f"sasrecf-tune {ctx.info_name}")
        return super().parse_args(ctx, args)


class RunCommand(RecBoleOptions, GroupedCommand):
    """`run`."""


class CheckCommand(RecBoleOptions, Command):
    """`check`."""


class Commands(TyperGroup):
    """The commands; options of run_hyper.py without one are refused with the `run` that they stand for."""

    @override
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first = args[0].partition("=")[0] if args else ""
        if first.startswith("--") and not any(first in param.opts for param in self.get_params(ctx)):
            names = {name for param in self.commands["run"].params for name in param.opts}
            if first in names or _key(first[2:]) or first[2:] in _REPLACED:
                command = shlex.join(["sasrecf-tune", "run", *args])
                raise InputError("a command is missing", where=first, fix=f"Write: {command}")
        return super().parse_args(ctx, args)


_CONFIG_FILES = ("--config-files", "--config_files")


def _translate(args: Sequence[str], own: set[str], command: str) -> list[str]:
    """`args` with `--set KEY=VALUE` for each `--KEY=VALUE` that is no option in `own`.

    Raises:
        InputErrors: options of RecBole's scripts that have another form here, with the command to write.
        InputError: the only one.
    """
    translated: list[str] = []
    written: list[str] = []  # as a person would write it
    mistakes: list[InputError] = []
    left = list(args)
    while left and left[0] != "--":
        arg = left.pop(0)
        name, equals, value = arg.partition("=")
        bare = name[2:].replace("-", "_") if name.startswith("--") and name not in own else ""
        key = _key(bare)
        ours = "" if key else OURS.get(bare, "")
        if name in _CONFIG_FILES and name in own:
            # A shell has split the names that RecBole's scripts take in quotes.
            names = [value] if equals else [left.pop(0)] if left else []
            while names and left and left[0].lower().endswith((".yaml", ".yml")):
                names.append(left.pop(0))
            words = [word for each in names for word in (name, each)] or [arg]
            translated += words
            written += words
        elif bare == "params_file":  # `check` has an argument instead
            words = [value] if equals else [left.pop(0)] if left else []
            translated += words
            written += words
        elif bare in _REPLACED or ours or (key and not equals):
            if not equals and left and not left[0].startswith("-"):
                value = left.pop(0)
            if bare in _REPLACED:
                why, instead = _REPLACED[bare].why, _instead(bare, value, own)
            elif ours:
                why, instead = f"no setting of RecBole: it has {ours}", _setting(ours, value, own)
            elif key in NOT_SETTINGS:
                why, instead = "no setting of RecBole, and without effect here", []
            else:
                why, instead = (
                    "RecBole's settings are given as --KEY=VALUE",
                    ["--set", f"{key}={value or 'VALUE'}"],
                )
            mistakes.append(InputError(why, where=name))
            written += instead
        elif equals and _key(name) and _ends_with_setting(written):
            mistakes.append(InputError("each setting needs its own --set", where=arg))
            written += ["--set", arg]
        else:
            if bare and not key:
                _check_near(name, own, bool(equals))
            translated += ["--set", f"{key}={value}"] if key else [arg]
            written.append(arg)
    if mistakes:
        mistakes[-1].fix = f"Write: {shlex.join([*command.split(), *written, *left])}"
        raise mistakes[0] if len(mistakes) == 1 else InputErrors(mistakes)
    return [*translated, *left]


def _ends_with_setting(words: Sequence[str]) -> bool:
    """Whether the last of `words` is a `--set KEY=VALUE`."""
    return words[-2:-1] == ["--set"] or (bool(words) and words[-1].startswith("--set="))


def _instead(name: str, value: str, own: set[str]) -> list[str]:
    """The options that replace `--NAME=VALUE`; none if no option of the command does."""
    option = _REPLACED[name].option
    if option == "--sampler":
        value = next((ours for theirs, ours in _SAMPLERS.items() if theirs in value.lower()), "")
    if option == "--config-files":  # a list of Python
        value = " ".join(re.findall(r"[^\[\]'\",\s]+", value))
    return [option, value] if value and option in own else []


def _setting(name: str, value: str, own: set[str]) -> list[str]:
    """The option that gives `value` to `name`, a setting or option of ours; none if it takes others."""
    if name in own and value:
        return [name, value]
    same = name in TABLE and TABLE[name].kind in ("int", "float", "str", "bool", "list")
    return ["--set", f"{name}={value}"] if same and value else []


def _key(name: str) -> str:
    """`name`, if it is a key of RecBole's or has no effect here, else ""."""
    return name if name in TABLE or name in NOT_SETTINGS or (name and name in recbole_keys()) else ""


def _check_near(option: str, own: set[str], has_value: bool) -> None:
    name = option[2:].replace("-", "_")
    if misspelt(name, [each.lstrip("-") for each in own]):
        return  # Typer suggests it
    if near := misspelt(name, TABLE):
        what = f"no such option: did you mean `{near}`?"
        raise InputError(what, where=option, fix="--KEY=VALUE sets one of RecBole's keys.")
    if has_value:
        what = "no such option, and no setting of RecBole 1.2.1"
        raise InputError(what, where=option, fix=f"Remove it: {' and '.join(MODELS)} do not read it.")
