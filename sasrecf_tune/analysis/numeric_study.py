"""The study with numeric parameters, for Optuna's importance and plots.

In study.db a `choice` of learning rates is a set of names without an order. Here it is a number, on a
logarithmic scale where its values span orders of magnitude.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sasrecf_tune.inputs.literals import is_number
from sasrecf_tune.inputs.search_space import Log, LogUniform, SearchSpace
from sasrecf_tune.trials import TrialRecord, cell_text

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

# A scale is logarithmic when the greatest value is at least this many times the least.
_LOG_RATIO = 20


def numeric_study(
    ranked: Sequence[TrialRecord], names: Sequence[str], space: SearchSpace, maximize: bool
) -> optuna.Study:
    """Return an in-memory study of the completed trials `ranked`, in the order of their numbers.

    Its trials have the parameters `names` only.
    """
    import optuna
    from optuna.trial import create_trial

    by_name = {name: _distribution(name, ranked, space) for name in names}
    study = optuna.create_study(direction="maximize" if maximize else "minimize")
    trials = []
    for record in sorted(ranked, key=lambda record: record.number):
        params = {name: _encoded(record.params[name], by_name[name]) for name in names}
        trial = create_trial(params=params, distributions=by_name, value=record.score)
        trials.append(trial)
    study.add_trials(trials)
    return study


def is_logarithmic(name: str, values: Sequence[float], space: SearchSpace) -> bool:
    """Return whether the axis of a parameter with these values should be logarithmic."""
    if min(values) <= 0:
        return False
    return isinstance(space[name], Log | LogUniform) or max(values) / min(values) >= _LOG_RATIO


def plotly_text(text: str) -> str:
    """Escape `text` for a Plotly label, in which tags and entities are markup."""
    return html.escape(text, quote=False).replace("\n", " ")


def _distribution(name: str, records: Sequence[TrialRecord], space: SearchSpace) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    values = [record.params[name] for record in records]
    if not all(map(is_number, values)) or not all(map(math.isfinite, values)):
        return CategoricalDistribution(
            tuple(dict.fromkeys(plotly_text(cell_text(value)) for value in values))
        )
    low, high = min(values), max(values)
    log = is_logarithmic(name, values, space)
    if all(isinstance(value, int) for value in values):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


def _encoded(value: object, distribution: BaseDistribution) -> object:
    from optuna.distributions import CategoricalDistribution

    return plotly_text(cell_text(value)) if isinstance(distribution, CategoricalDistribution) else value
