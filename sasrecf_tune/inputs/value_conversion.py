"""Converts a value to the type that RecBole's key has: the key decides, not how the value is written.

RecBole evaluates values of its command line and of params files, but not those of config files, where "None"
stays a text. Here they mean the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sasrecf_tune.inputs.hyperparameters import TABLE, Hyperparameter, Kind
from sasrecf_tune.inputs.literals import LiteralError, Value, from_string, is_number, read_words

_NONE = frozenset({"", "none", "null", "~"})
_BOOLS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
# The types of the values in mappings, and of those in lists.
_PARTS: Mapping[str, Mapping[str, Kind]] = {
    "train_neg_sample_args": {
        "sample_num": "int",
        "alpha": "float",
        "dynamic": "bool",
        "candidate_num": "int",
    },
    "clip_grad_norm": {
        "max_norm": "float",
        "norm_type": "float",
        "error_if_nonfinite": "bool",
        "foreach": "bool",
    },
}
# YAML takes \\t for a tab in double quotes only, a shell nowhere.
_SEPARATORS = ("field_separator", "seq_separator")
_ELEMENTS: Mapping[str, Kind] = {"topk": "int"}


def convert(name: str, value: Value) -> Value:
    """`value` with the type of the key `name`, as far as it can have that; unchanged for an unknown key.

    Example:
        >>> convert("clip_grad_norm", "none"), convert("epochs", "5"), convert("learner", "Adam")
        (None, 5, 'adam')
        >>> convert("user_inter_num_interval", [5, 10]), convert("topk", "5, 10")
        ('[5, 10]', [5, 10])
    """
    known = TABLE.get(name)
    if known is None:
        return value
    if known.optional and _is_none(known, value):
        return None
    if name in _SEPARATORS and isinstance(value, str):
        return value.replace("\\t", "\t")
    converted = _BY_KIND[known.kind](value)
    if known.any_case and isinstance(converted, str) and converted.lower() in known.choices:
        return converted.lower()
    if isinstance(converted, list) and name in _ELEMENTS:
        return [_BY_KIND[_ELEMENTS[name]](element) for element in converted]
    if isinstance(converted, dict) and name in _PARTS:
        return {key: _part(_PARTS[name].get(key), part) for key, part in converted.items()}
    return converted


def _is_none(known: Hyperparameter, value: Value) -> bool:
    """Whether `value` means None for a key that may be None."""
    if not isinstance(value, str):
        return value is None
    # A space is a separator, and an empty gpu_id the CPU.
    word = value if value.isspace() or known.kind == "any" else value.strip()
    return word.lower() in _NONE and (word != "" or known.kind != "any")


def _part(kind: Kind | None, value: Value) -> Value:
    if isinstance(value, str) and value.strip().lower() in _NONE:
        return None
    return value if kind is None else _BY_KIND[kind](value)


def _text(value: Value) -> Value:
    # A column may have a number for a name.
    return str(value) if is_number(value) else value


def _bool(value: Value) -> Value:
    if value in (0, 1) and is_number(value):
        return bool(value)
    return _BOOLS.get(value.strip().lower(), value) if isinstance(value, str) else value


def _number(value: Value) -> Value:
    number = from_string(value) if isinstance(value, str) else value
    return number if is_number(number) else value


def _whole(value: Value) -> Value:
    number = _number(value)
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _list(value: Value) -> Value:
    if isinstance(value, str):
        literal = from_string(value)
        if literal == value:
            try:
                return list(read_words(value))
            except LiteralError:
                return value
        value = literal
    return [value] if isinstance(value, str) or is_number(value) else value


def _dict(value: Value) -> Value:
    return from_string(value) if isinstance(value, str) else value


def _interval(value: Value) -> Value:
    # RecBole takes a list for the closed interval that its text is.
    if isinstance(value, list) and len(value) == 2:
        return f"[{value[0]}, {value[1]}]"
    return value


_BY_KIND: Mapping[Kind, Callable[[Value], Value]] = {
    "int": _whole,
    "float": _number,
    "str": _text,
    "bool": _bool,
    "list": _list,
    "dict": _dict,
    "interval": _interval,
    "any": lambda value: value,
}
