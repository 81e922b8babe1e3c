"""Finished trials of earlier searches, and their values in a search space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sasrecf_tune.inputs.literals import Value, from_string, is_number
from sasrecf_tune.inputs.search_space import Choice, Int, Parameter, QUniform
from sasrecf_tune.inputs.value_conversion import convert
from sasrecf_tune.trials import cell_text

_LARGEST = 1e300


@dataclass(frozen=True)
class EarlierTrial:
    """A finished trial as it was recorded elsewhere.

    Args:
        params: Its parameters; a text file has the text of each.
        valid: Validation metrics by RecBole's keys.
        test: Test metrics, which are shown and never used to select.
        epochs: How many epochs it was trained; 0 if that was not recorded, as for the other numbers.
        curve: Scores by epoch; empty if they were not recorded.
        weights: Trainable parameters.
    """

    params: Mapping[str, Value]
    valid: Mapping[str, float]
    test: Mapping[str, float] = field(default_factory=dict)
    seed: int | None = None
    epochs: int = 0
    best_epoch: int = 0
    seconds: float = 0.0
    curve: Mapping[int, float] = field(default_factory=dict)
    weights: int = 0


def value_in(parameter: Parameter, given: Value) -> Value:
    """The value of a parameter that `given`, or its text, stands for; None if there is none.

    Tables show numbers with six digits, and hyperopt's `quniform` whole numbers as 64.0.

    Example:
        >>> from sasrecf_tune.inputs.search_space import Choice, Int
        >>> value_in(Choice("learning_rate", (0.01, 0.001)), "0.001"), value_in(Int("n_layers", 1, 3), 2.0)
        (0.001, 2)
        >>> value_in(Choice("selected_features", (["class"], ["class", "year"])), "('class', 'year')")
        ['class', 'year']
    """
    if isinstance(given, int | float) and not abs(given) < _LARGEST:  # or it is not a number
        return None
    readings = [given, convert(parameter.name, given)]
    if isinstance(given, str):
        readings.append(from_string(given))
    for reading in readings:
        if parameter.contains(reading):
            return reading
    if isinstance(parameter, Choice):
        shown = given.strip() if isinstance(given, str) else cell_text(given)
        for choice in parameter.choices:
            if shown in (cell_text(choice), str(choice)) or _same(convert(parameter.name, choice), readings):
                return choice
        return None
    nearest = (_near(parameter, number) for number in readings if is_number(number))
    return next((value for value in nearest if value is not None), None)


def _same(choice: Value, readings: list[Value]) -> bool:
    return any(choice == one and isinstance(choice, bool) == isinstance(one, bool) for one in readings)


def _near(parameter: Parameter, number: int | float) -> Value:
    """The value of a parameter that is shown as `number` is, None if there is none."""
    assert not isinstance(parameter, Choice)
    low, high = parameter.bounds
    nearest: int | float = min(max(number, low), high)
    if isinstance(parameter, Int | QUniform):
        values = parameter.values
        step = values[1] - values[0] if parameter.size > 1 else 1
        nearest = values[min(max(round((nearest - low) / step), 0), parameter.size - 1)]
    return nearest if cell_text(float(nearest)) == cell_text(float(number)) else None
