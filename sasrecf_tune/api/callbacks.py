"""Calls a user's callbacks from a search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from typing_extensions import override

from sasrecf_tune.errors import InputError
from sasrecf_tune.messages import Report
from sasrecf_tune.search.callbacks import Callback
from sasrecf_tune.trials import TrialRecord

METHODS = ("on_trial_start", "on_report", "on_trial_end")


class CallbackError(Exception):
    """A user's callback raised an exception, which is the cause."""


class UserCallbacks(Callback):
    """Passes events on to objects that have any of the methods `METHODS`.

    Raises:
        InputError: an object has none of them.
    """

    def __init__(self, callbacks: Sequence[object]) -> None:
        if not isinstance(callbacks, Sequence):
            raise InputError("callbacks must be a list of objects", where="callbacks")
        for callback in callbacks:
            if not any(callable(getattr(callback, method, None)) for method in METHODS):
                raise InputError(
                    f"{callback!r} has none of the methods {', '.join(METHODS)}", where="callbacks"
                )
        self._callbacks = callbacks

    @override
    def on_trial_start(self, number: int, params: Mapping[str, object]) -> None:
        self._call("on_trial_start", number, params)

    @override
    def on_report(self, report: Report) -> None:
        self._call("on_report", report)

    @override
    def on_trial_end(self, record: TrialRecord) -> None:
        self._call("on_trial_end", record)

    def _call(self, name: str, *arguments: Any) -> None:
        for callback in self._callbacks:
            method: Callable[..., object] | None = getattr(callback, name, None)
            if method is None:
                continue
            try:
                method(*arguments)
            except Exception as error:
                # Wrapped: the search takes some kinds of exceptions for errors of its database.
                raise CallbackError from error
