"""Search spaces written in Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sasrecf_tune.api.arguments import check_arguments
from sasrecf_tune.api.error_text import keyword_names
from sasrecf_tune.api.html import html_table
from sasrecf_tune.errors import InputError
from sasrecf_tune.inputs import params_file, search_space
from sasrecf_tune.inputs.search_space import Choice, Int, Log, LogUniform, Parameter, QUniform, Uniform
from sasrecf_tune.inputs.validation import space_mistakes
from sasrecf_tune.report.text import count_text

_SOURCE = "space"
_NUMBERS = ("low", "high", "q", "step")


class SearchSpace(search_space.SearchSpace):
    """RecBole keys and the values to search, checked as a params file is.

    Args:
        parameters: A list of choices, a range such as `uniform(0.1, 0.6)`, or one fixed value for each key.
            A key whose value is itself a list needs a list of lists.

    Raises:
        InputError: A name is unknown, or a value cannot be used.

    Example:
        >>> SearchSpace({"learning_rate": [0.01, 0.001], "hidden_dropout_prob": uniform(0.1, 0.6)})
        SearchSpace:
          learning_rate choice [0.01, 0.001]
          hidden_dropout_prob uniform 0.1,0.6
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        if not isinstance(parameters, Mapping):
            raise InputError(
                f"a {type(parameters).__name__} is not a mapping of RecBole keys to values",
                where=_SOURCE,
                fix="Read a params file with read_params_file(path).",
            )
        lines = [_parameter(name, values).write() for name, values in parameters.items()]
        with keyword_names():
            self._take(params_file.parse("\n".join(lines), _SOURCE, space_mistakes))

    def _take(self, space: search_space.SearchSpace) -> None:
        super().__init__(space.parameters, space.source, space.notes)

    def plain(self) -> search_space.SearchSpace:
        """The same space as the rest of the package handles it."""
        return search_space.SearchSpace(self.parameters, self.source, self.notes)

    def __repr__(self) -> str:
        return "SearchSpace:" + "".join(f"\n  {parameter.write()}" for parameter in self)

    def _repr_html_(self) -> str:
        rows = [parameter.write().split(maxsplit=2) for parameter in self]
        size = self.size
        count = "infinitely many configurations" if size is None else count_text(size, "configuration")
        return html_table(["parameter", "kind", "values"], rows) + f"<p>{count}</p>"


def read_params_file(path: str | Path) -> SearchSpace:
    """Read a search space from a file in RecBole's hyper.test format.

    Raises:
        InputError: The file cannot be read, or something in it is wrong; the message has line and column.
    """
    check_arguments(read_params_file, locals())
    space = SearchSpace.__new__(SearchSpace)
    with keyword_names():
        space._take(params_file.read(Path(path), space_mistakes))
    return space


def uniform(low: float, high: float) -> Uniform:
    """A real number between `low` and `high`."""
    return Uniform("", low, high)


def log(low: float, high: float) -> Log:
    """A real number between `low` and `high`, uniform in its logarithm.

    Example:
        >>> SearchSpace({"learning_rate": log(1e-4, 1e-2)})
        SearchSpace:
          learning_rate log 0.0001,0.01
    """
    return Log("", low, high)


def loguniform(low: float, high: float) -> LogUniform:
    """exp of a real number between `low` and `high`, which are natural logarithms as in RecBole."""
    return LogUniform("", low, high)


def quniform(low: float, high: float, q: float) -> QUniform:
    """A multiple of `q` near a real number between `low` and `high`, as in hyperopt."""
    return QUniform("", low, high, q)


def integer(low: int, high: int, step: int = 1) -> Int:
    """A whole number from `low` to at most `high` in steps of `step`."""
    return Int("", low, high, step)


def _parameter(name: str, values: Any) -> Parameter:
    if not (isinstance(name, str) and name.isidentifier()):
        raise InputError(f"{name!r} is not a parameter name", where=_SOURCE)
    values = _without_numpy(values)
    if isinstance(values, Parameter):
        numbers = {key: _without_numpy(vars(values)[key]) for key in _NUMBERS if key in vars(values)}
        for key, number in numbers.items():
            if not isinstance(number, int | float):
                raise InputError(f"{key} is {number!r}, not a number", where=f"{_SOURCE}: {name}")
        return replace(values, name=name, **numbers)
    choices = list(values) if isinstance(values, list | tuple | range) else [values]
    return Choice(name, tuple(_value(name, choice) for choice in choices))


def _value(name: str, value: Any) -> Any:
    value = _without_numpy(value)
    if isinstance(value, list | tuple):
        return [_value(name, inner) for inner in value]
    if isinstance(value, dict):
        return {key: _value(name, inner) for key, inner in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InputError(
        f"{value!r} is a {type(value).__name__}, which no parameter takes", where=f"{_SOURCE}: {name}"
    )


def _without_numpy(value: Any) -> Any:
    """A NumPy number or array as Python's own."""
    return value.tolist() if hasattr(value, "tolist") else value
