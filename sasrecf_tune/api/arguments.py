"""Checks that the arguments of a function are of the types that it is annotated with."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from sasrecf_tune.errors import InputError

_SHOWN = 60
_WORDS = {Sequence: "list", Mapping: "mapping"}


def check_arguments(function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Check `arguments` of `function` by its annotations.

    Args:
        arguments: By name. Those are not checked that have no annotation, or one that is not imported at run
            time.

    Raises:
        InputError: One has another type; the message names it.
    """
    for name, kind in _annotations(function).items():
        value = arguments[name]
        if not _fits(value, kind):
            expected = " or ".join(dict.fromkeys(_words(kind)))
            shown = repr(value)
            shown = "" if len(shown) > _SHOWN or "\n" in shown else f"{shown} is "
            article = "an" if type(value).__name__[0] in "aeiouAEIOU" else "a"
            raise InputError(f"{shown}{article} {type(value).__name__}, not {expected}", where=name)


def is_list(value: object) -> bool:
    """Whether `value` is a list, or an array or column of one dimension; text is none."""
    if isinstance(value, Sequence):
        return not isinstance(value, str | bytes)
    return (hasattr(value, "tolist") or hasattr(value, "to_list")) and getattr(value, "ndim", 1) == 1


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    def bare() -> None: ...

    found: dict[str, Any] = {}
    for name in inspect.signature(function).parameters:
        if name not in function.__annotations__:
            continue
        bare.__annotations__ = {name: function.__annotations__[name]}
        with contextlib.suppress(NameError):
            found |= inspect.get_annotations(bare, globals=function.__globals__, eval_str=True)
    return found


def _fits(value: object, kind: Any) -> bool:
    if get_origin(kind) in (Union, UnionType):
        return any(_fits(value, one) for one in get_args(kind))
    kind = get_origin(kind) or kind
    if kind in (Any, object):
        return True
    if kind is Literal:  # which of them is checked where they are known
        return isinstance(value, str)
    if kind is Sequence:
        return is_list(value)
    if kind is float:
        kind = int | float
    return isinstance(value, kind) and not (kind in (int, int | float) and isinstance(value, bool))


def _words(kind: Any) -> list[str]:
    if get_origin(kind) in (Union, UnionType):
        return [word for one in get_args(kind) if one is not NoneType for word in _words(one)]
    kind = get_origin(kind) or kind
    return ["str" if kind is Literal else _WORDS.get(kind, kind.__name__)]
