"""What the shell completes: names of studies, metrics, RecBole's keys, and the columns of a study.

Completion never fails: what cannot be read has nothing to offer.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import typer

from sasrecf_tune.errors import TuneError
from sasrecf_tune.inputs.hyperparameters import MODELS, TABLE
from sasrecf_tune.inputs.import_settings import Drop
from sasrecf_tune.inputs.metrics import VALUE, WITH_K, WITHOUT_K
from sasrecf_tune.inputs.search_space import Choice
from sasrecf_tune.inputs.settings import Tracker
from sasrecf_tune.report.row_selection import FIELDS
from sasrecf_tune.storage.directory import find_study, studies
from sasrecf_tune.trials import LISTED, cell_text

if TYPE_CHECKING:
    from sasrecf_tune.inputs.search_space import SearchSpace

_CUTOFFS = (5, 10, 20)


def study_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a study below --out."""
    return _starting(incomplete, (study.name for study in studies(_out(ctx))))


def metrics(incomplete: str) -> list[str]:
    """Complete a metric, such as NDCG@10."""
    with_k = (f"{name}@{k}" for name in WITH_K for k in _CUTOFFS)
    return _starting(incomplete, [*with_k, *WITHOUT_K, *VALUE])


def models(incomplete: str) -> list[str]:
    """Complete a model."""
    return _starting(incomplete, MODELS)


def settings(incomplete: str) -> list[str]:
    """Complete the key of --set KEY=VALUE."""
    keys = (f"{key.name}=" for key in TABLE.values() if key.group != "environment")
    return _starting(incomplete, keys)


def drops(incomplete: str) -> list[str]:
    """Complete the rows that an import leaves out."""
    return _starting(incomplete, get_args(Drop))


def trackers(incomplete: str) -> list[str]:
    """Complete a tracker."""
    return _starting(incomplete, get_args(Tracker))


def sort_columns(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a column of the study."""
    space = _space(ctx)
    return _starting(incomplete, ("score", *FIELDS, *(space.names if space else ())))


def filters(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete NAME=VALUE of a parameter or of the state."""
    known: dict[str, list[str]] = {"state": [*(state.value for state in LISTED), "imported"]}
    for parameter in _space(ctx) or ():
        values = parameter.choices if isinstance(parameter, Choice) else ()
        known[parameter.name] = [cell_text(value) for value in values]
    name, equals, _ = incomplete.partition("=")
    if equals and name in known:
        return _starting(incomplete, (f"{name}={value}" for value in known[name]))
    return _starting(incomplete, (f"{name}=" for name in known))


def _starting(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _out(ctx: typer.Context) -> Path:
    return Path(ctx.params.get("out") or "tuning")


def _space(ctx: typer.Context) -> SearchSpace | None:
    from sasrecf_tune.storage.manifest import settings_from

    try:
        return settings_from(find_study(_out(ctx), ctx.params.get("study")))[1]
    except (TuneError, OSError):
        return None
