"""Checks of the settings that say how the data is split and ranked: what RecBole refuses, or cannot use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sasrecf_tune.errors import ConfigFileError, ParameterError, suggest
from sasrecf_tune.inputs.literals import Value, is_number
from sasrecf_tune.inputs.metrics import RANKING, VALUE, check_kinds

_KEYS = ("split", "order", "group_by", "mode")
_LEAVE_ONE_OUT = ("valid_and_test", "valid_only", "test_only")
# "uni100": 100 sampled candidates; "pop100": the same by popularity.
_SAMPLED = re.compile(r"(?:uni|pop)0*[1-9][0-9]{0,8}")
_EXAMPLE = "eval_args={split: {LS: valid_and_test}, order: TO, mode: full}"
_RATIO_EXAMPLE = "eval_args={split: {RS: [0.8, 0.1, 0.1]}, order: TO, group_by: user, mode: full}"


def check_eval_args(value: Value) -> Iterator[ParameterError]:
    """What is wrong with a value of `eval_args`, as far as its keys say.

    Source: recbole/config/configurator.py; recbole/data/dataset/dataset.py, build.
    """
    assert isinstance(value, dict)
    for key in value:
        if key not in _KEYS:
            known = suggest(key, _KEYS) or f"; it has {', '.join(_KEYS)}"
            yield _mistake(f"eval_args has no `{key}`{known}")
    if "order" in value and value["order"] != "TO":
        yield _order_mistake(value["order"])
    if "mode" in value:
        yield from _mode_mistakes(value["mode"])
    if "split" in value:
        yield from _split_mistakes(value["split"])
    split = value.get("split", {"RS": None})
    group = value.get("group_by", "user")
    by_ratio = isinstance(split, dict) and "RS" in split
    if by_ratio and group is not None and str(group).lower() != "none" and group != "user":
        yield _mistake(f"group_by of eval_args must be user or none, not {group!r}", _RATIO_EXAMPLE)


def check_metrics(value: Value) -> Iterator[ParameterError]:
    """What is wrong with the names in a value of `metrics`."""
    names = value if isinstance(value, list) else [value]
    if any("@" in str(name) for name in names):
        yield ParameterError(
            f"metrics are names without a cut-off, not {', '.join(map(str, names))[:60]}",
            fix="Set the cut-offs with topk, for example topk=[5,10].",
        )
        return
    for name in names:
        known = (*RANKING, *VALUE)
        if isinstance(name, str) and name.lower() not in {one.lower() for one in known}:
            near = suggest(name, known)
            yield ParameterError(
                f"unknown metric {name!r} in metrics{near}", fix=f"The metrics are {', '.join(RANKING)}."
            )


def check_repeatable(value: Value) -> Iterator[ParameterError]:
    """What is wrong with a value of `repeatable`."""
    if value is not True:
        yield ParameterError(
            "repeatable must be True: RecBole's sequential models may recommend items of the history",
            fix="Remove it, or set it to True.",
        )


def check_evaluation(config: Mapping[str, Any]) -> None:
    """Check how RecBole's complete configuration splits and ranks; its parts are checked before.

    Raises:
        ConfigFileError: RecBole refuses the combination.
    """
    args = config["eval_args"]
    for mistake in check_eval_args(args):
        raise ConfigFileError(
            f"{mistake.what} (a mapping replaces all of RecBole's default)",
            where="eval_args",
            fix=mistake.fix,
        )
    metrics = config["metrics"]
    names = [str(name) for name in ([metrics] if isinstance(metrics, str) else metrics)]
    check_kinds(names, args)
    ranking = [name for name in names if name.lower() in {one.lower() for one in RANKING}]
    if ranking and _is_labeled(args):
        raise ConfigFileError(
            f"mode labeled cannot be used with {', '.join(ranking)}: it does not rank items, but compares "
            "scores with labels",
            where="eval_args",
            fix=f'Use another mode, for example: --set "{_EXAMPLE}". Or other metrics, and labels from '
            "LABEL_FIELD or threshold, for example: --set metrics=[AUC] --metric AUC --set "
            '"threshold={rating: 3}".',
        )
    phases = args["mode"] if isinstance(args["mode"], dict) else {}
    if phases.get("valid") == "labeled" and _SAMPLED.fullmatch(str(phases.get("test"))):
        # general_dataloader.py would sample candidates for validation as for test, without a sampler.
        raise ConfigFileError(
            f"mode labeled for validation cannot be used with {phases['test']} for test: RecBole 1.2.1 fails",
            where="eval_args",
            fix=f"Set mode to labeled, or to {phases['test']}, for both.",
        )


def label_column(config: Mapping[str, Any]) -> str | None:
    """The column of interactions whose labels an evaluation reads; None if it reads none, or makes them."""
    if config["threshold"] or not _is_labeled(config["eval_args"]):
        return None
    return str(config["LABEL_FIELD"])


def _is_labeled(args: Mapping[str, Any]) -> bool:
    mode = args["mode"]
    return "labeled" in (mode.values() if isinstance(mode, Mapping) else [mode])


def candidates(config: Mapping[str, Any]) -> int | None:
    """The smallest number of items that an evaluation ranks for one target; None if it ranks all."""
    mode = config["eval_args"]["mode"]
    modes = mode.values() if isinstance(mode, dict) else [mode]
    sampled = [int(str(one)[3:]) + 1 for one in modes if _SAMPLED.fullmatch(str(one))]
    return min(sampled, default=None)


def _mistake(what: str, example: str = _EXAMPLE) -> ParameterError:
    return ParameterError(what, fix=f'For example: --set "{example}".')


def _order_mistake(order: Value) -> ParameterError:
    return _mistake(f"order of eval_args must be TO (by time) for sequential models, not {order!r}")


def _mode_mistakes(mode: Value) -> Iterator[ParameterError]:
    if isinstance(mode, dict):
        for phase in mode:
            if phase not in ("valid", "test"):
                yield _mistake(f"mode of eval_args has no `{phase}`{suggest(phase, ('valid', 'test'))}")
    for one in mode.values() if isinstance(mode, dict) else [mode]:
        if one not in ("full", "labeled") and not (isinstance(one, str) and _SAMPLED.fullmatch(one)):
            yield _mistake(
                "mode of eval_args must be full, uniN or popN (such as uni100: 100 sampled items), "
                f"not {one!r}"
            )


def _split_mistakes(split: Value) -> Iterator[ParameterError]:
    kinds = "RS (ratios), LS (leave one out) or TS (time)"
    if not isinstance(split, dict) or len(split) != 1 or next(iter(split)) not in ("RS", "LS", "TS"):
        yield _mistake(f"split of eval_args must be a mapping with one of {kinds}, not {split!r}")
        return
    kind, how = next(iter(split.items()))
    if kind != "LS":
        numbers = [number for number in how if is_number(number)] if isinstance(how, list) else []
        if len(numbers) != 3 or numbers != how or min(numbers) < 0:
            yield _mistake(
                f"split {kind} of eval_args must be three ratios (training, validation, test), not {how!r}",
                _RATIO_EXAMPLE,
            )
        elif not (numbers[0] and numbers[1]):
            yield _mistake(
                f"split {kind} of eval_args leaves nothing to train or to validate on: {how!r}",
                _RATIO_EXAMPLE,
            )
    elif how not in _LEAVE_ONE_OUT:
        near = suggest(str(how), _LEAVE_ONE_OUT)
        yield _mistake(f"split LS of eval_args must be valid_and_test or valid_only, not {how!r}{near}")
    elif how == "test_only":
        yield _mistake("split LS: test_only of eval_args leaves nothing to validate on")
