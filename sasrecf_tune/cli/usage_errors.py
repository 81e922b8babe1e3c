"""Says in plain words which value of an option is wrong, where the parser's message is pydantic's."""

from __future__ import annotations

from typing import Any

from sasrecf_tune.errors import InputError

# Pydantic's kinds of errors, and the limit in their context.
_LIMITS = {"greater_than_equal": ("least", "ge"), "less_than_equal": ("most", "le")}


def value_error(error: Any) -> InputError | None:
    """Return the error to show for a value that the parser refuses.

    Args:
        error: The `typer.BadParameter`; its cause is pydantic's error.

    Returns:
        None if its own message is plain, as for a required option that is missing.
    """
    if error.param is None or not hasattr(error.__cause__, "errors"):
        return None
    found = error.__cause__.errors()[0]
    kind, given, context = found["type"], found["input"], found.get("ctx", {})
    names = [name for name in error.param.opts if name.startswith("--")]
    where = names[0] if names else error.param.metavar or error.param.name
    if kind in _LIMITS:
        word, limit = _LIMITS[kind]
        what = f"must be at {word} {context[limit]}, not {given}"
    elif kind.startswith("int_"):
        what = f"must be a whole number, not {given!r}"
    else:
        what = str(context.get("error", found["msg"])).rstrip(".")
    return InputError(what, where=where)
