"""Checks a single value against the table of RecBole's keys."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from sasrecf_tune.errors import MistakeCollector, ParameterError, suggest
from sasrecf_tune.inputs import data_settings, evaluation_settings
from sasrecf_tune.inputs.hyperparameters import TABLE, Hyperparameter, Kind
from sasrecf_tune.inputs.literals import MOST, Value, is_count, is_number
from sasrecf_tune.inputs.value_conversion import convert

_TYPES: Mapping[Kind, type | tuple[type, ...]] = {
    "int": int,
    "float": (int, float),
    "str": str,
    "bool": bool,
    "list": list,
    "dict": dict,
    "interval": str,
    "any": object,
}
# Losses, activations and optimisers of other programs: no misspellings of ours.
_OTHER_VALUES = ("bce", "elu", "celu", "selu", "silu", "prelu", "leakyrelu", "adamax", "nadam", "radam")
_MOST_INTERVALS = 1000
_INTERVAL = re.compile(r"[\[(]([^,;]+),([^,;]+)[\])]")


def check_value(name: str, value: Value) -> Value:
    """`value` as RecBole must get it for the known key `name`: "64" and 64.0 become 64 for a whole number.

    Raises:
        ParameterError: the wrong type, out of range, or a wrong part of a list or mapping.
        InputErrors: several wrong parts.
    """
    known = TABLE[name]
    converted = convert(name, value)
    if converted is None and (known.optional or known.kind == "any"):
        return None
    if not isinstance(converted, _TYPES[known.kind]) or (
        isinstance(converted, bool) and known.kind in ("int", "float")
    ):
        raise _wrong(known, value)
    if known.choices and converted not in known.choices:
        similar = isinstance(converted, str) and converted.lower() not in _OTHER_VALUES
        near = suggest(str(converted), map(str, known.choices)) if similar else ""
        raise _wrong(known, value, near)
    if is_number(converted):
        below = converted <= known.low if known.open_low else converted < known.low
        if below or converted > known.high or (isinstance(converted, float) and not math.isfinite(converted)):
            raise _wrong(known, value)
    if name in _CHECKS and converted is not None:
        with MistakeCollector() as mistakes:
            mistakes.add(*_CHECKS[name](converted))
    return converted


def is_interval(value: Value) -> bool:
    """Whether RecBole reads `value` as an interval such as "[5,inf)", or as several with `;`.

    RecBole skips a part that is not an interval, which would leave the data unfiltered without a message.
    Source: recbole/data/dataset/dataset.py, _parse_intervals_str.
    """
    # RecBole compares each user, item or row with each part.
    parts = value.split(";", _MOST_INTERVALS) if isinstance(value, str) else []
    return 0 < len(parts) <= _MOST_INTERVALS and all(map(_is_one_interval, parts))


def _is_one_interval(text: str) -> bool:
    match = _INTERVAL.fullmatch(text.strip())
    try:
        return match is not None and float(match.group(1)) <= float(match.group(2))
    except ValueError:
        return False


def _wrong(known: Hyperparameter, value: Value, near: str = "") -> ParameterError:
    return ParameterError(f"`{known.name}` must be {known.range_text}, not {_short(value)}{near}")


def _short(value: Value) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _is_above_zero(value: Value) -> bool:
    return is_number(value) and value > 0


# ---- The parts of lists and mappings ----

# Per key of a mapping: what its value must be in words, and whether a value is that.
_Parts = Mapping[str, tuple[str, Callable[[Value], bool]]]
# Source: recbole/config/configurator.py, recbole/sampler/sampler.py.
_DISTRIBUTIONS = ("uniform", "popularity")
_NEGATIVE_SAMPLING: _Parts = {
    "distribution": (
        "uniform, popularity or None",
        lambda value: value in (*_DISTRIBUTIONS, None),
    ),
    "sample_num": (f"a whole number from 1 to {MOST}", lambda value: is_count(value)),
    "alpha": ("a number from 0", lambda value: is_number(value) and value >= 0),
    "dynamic": ("True or False", lambda value: isinstance(value, bool)),
    "candidate_num": (f"a whole number from 0 to {MOST}", lambda value: is_count(value, 0)),
}
# Source: torch.nn.utils.clip_grad_norm_.
_CLIPPING: _Parts = {
    "max_norm": ("a number above zero", _is_above_zero),
    "norm_type": ("a number above zero or inf", lambda value: value == "inf" or _is_above_zero(value)),
    "error_if_nonfinite": ("True or False", lambda value: isinstance(value, bool)),
    "foreach": ("True, False or None", lambda value: value is None or isinstance(value, bool)),
}


def _check_parts(name: str, value: Value, parts: _Parts) -> Iterator[ParameterError]:
    assert isinstance(value, dict)
    for key, part in value.items():
        if key not in parts:
            # RecBole before 1.1 had {'uniform': 1}.
            fix = f"Write {{'distribution': {key!r}, 'sample_num': {part}}}." if key in _DISTRIBUTIONS else ""
            yield ParameterError(f"{name} has no `{key}`{suggest(key, parts)}", fix=fix)
        elif not parts[key][1](part):
            yield ParameterError(f"{key} of {name} must be {parts[key][0]}, not {_short(part)}")


def _check_negative_sampling(value: Value) -> Iterator[ParameterError]:
    assert isinstance(value, dict)
    if value.get("distribution", "uniform") is None:
        # RecBole's log shows "none" for the other values too; without negatives none is read.
        value = {key: part for key, part in value.items() if part is not None}
    yield from _check_parts("train_neg_sample_args", value, _NEGATIVE_SAMPLING)
    if value.get("dynamic") is True and not value.get("candidate_num"):
        yield ParameterError("dynamic negatives of train_neg_sample_args need a candidate_num of at least 1")


def _check_clipping(value: Value) -> Iterator[ParameterError]:
    yield from _check_parts("clip_grad_norm", value, _CLIPPING)
    assert isinstance(value, dict)
    # Another name for it was reported above.
    if "max_norm" not in value and value.keys() <= _CLIPPING.keys():
        yield ParameterError(f"clip_grad_norm needs a max_norm above zero, not {value!r}")


def _check_features(value: Value) -> Iterator[ParameterError]:
    assert isinstance(value, list)
    if not value or not all(isinstance(name, str) for name in value):
        yield ParameterError(
            f"selected_features must name at least one item column, not {_short(value)}",
            fix="For example: selected_features choice [['class'], ['class', 'release_year']]",
        )
    elif len(set(map(str, value))) < len(value):
        yield ParameterError(f"selected_features names a column twice: {_short(value)}")


def _check_metrics(value: Value) -> Iterator[ParameterError]:
    if not _are_all(value, lambda name: isinstance(name, str)):
        yield ParameterError(f"metrics must be names, not {_short(value)}", fix="For example [NDCG, MRR].")
    else:
        yield from evaluation_settings.check_metrics(value)


def _check_topk(value: Value) -> Iterator[ParameterError]:
    if not _are_all(value, is_count):
        yield ParameterError(
            f"topk must be whole numbers from 1 to {MOST}, not {_short(value)}", fix="For example [5, 10]."
        )


def _are_all(value: Value, right: Callable[[Value], bool]) -> bool:
    """Whether all values of a list are right; RecBole takes one value for a list of it."""
    return bool(value) and all(map(right, value if isinstance(value, list) else [value]))


def _check_interval(name: str, value: Value) -> Iterator[ParameterError]:
    if not is_interval(value):
        yield ParameterError(
            f"`{name}` must be an interval, not {_short(value)}", fix='For example "[5,inf)".'
        )


_CHECKS: Mapping[str, Callable[[Value], Iterator[ParameterError]]] = {
    "selected_features": _check_features,
    "train_neg_sample_args": _check_negative_sampling,
    "clip_grad_norm": _check_clipping,
    "metrics": _check_metrics,
    "topk": _check_topk,
    "eval_args": evaluation_settings.check_eval_args,
    "repeatable": evaluation_settings.check_repeatable,
    "val_interval": partial(data_settings.check_value_intervals, is_interval=is_interval),
    "threshold": data_settings.check_threshold,
    "seq_len": data_settings.check_lengths,
    "encoding": data_settings.check_encoding,
    "field_separator": data_settings.check_separator,
    "discretization": data_settings.check_bins,
    "benchmark_filename": data_settings.check_parts,
    "additional_feat_suffix": data_settings.check_suffixes,
    **{
        name: partial(data_settings.check_not_empty, name)
        for name in ("seq_separator", "LIST_SUFFIX", "NEG_PREFIX")
    },
    **{
        name: partial(_check_interval, name)
        for name in ("user_inter_num_interval", "item_inter_num_interval")
    },
    **{
        name: partial(data_settings.check_columns_by_file, name)
        for name in ("load_col", "unload_col", "unused_col")
    },
}
