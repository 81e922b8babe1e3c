"""report.html: all results of a study on one page that loads nothing from the network."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from sasrecf_tune.analysis.budget import budget
from sasrecf_tune.analysis.contrasts import CONFIDENCE
from sasrecf_tune.analysis.importance import DASHBOARD_DIFFERS, LEAST_TRIALS, importance
from sasrecf_tune.analysis.main_effects import main_effects
from sasrecf_tune.analysis.report_data import ReportData, report_data_of
from sasrecf_tune.inputs.durations import format_duration
from sasrecf_tune.inputs.literals import is_number
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.report.bounds_text import bounds_sentence
from sasrecf_tune.report.choice_text import (
    PREDICTED,
    choice_text,
    has_predictions,
    predicted_text,
    regret_text,
    untried_text,
)
from sasrecf_tune.report.confirmation_text import (
    heading,
    interval_text,
    note,
    place_cells,
    seeds_text,
    sentences,
)
from sasrecf_tune.report.page.figures import cost_figures, search_figures
from sasrecf_tune.report.page.packing import pack_json, pack_plotly
from sasrecf_tune.report.page.parameter_figures import parameter_figures
from sasrecf_tune.report.templates import template_environment
from sasrecf_tune.report.text import (
    epochs_text,
    percent_text,
    states_text,
    timestamp_text,
    trials_text,
    visible,
)
from sasrecf_tune.report.user_scores_text import users_heading, users_note, users_table
from sasrecf_tune.search.read_results import read_results
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.files import atomic_write
from sasrecf_tune.trials import State, cell_text, value_order

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

# A parameter with more values has no drop-down list.
_MOST_CHOICES = 12


def write_page(study_dir: StudyDirectory, settings: RunSettings, space: SearchSpace) -> None:
    """Write the study's report.html.

    Raises:
        TuneError: The study cannot be read.
    """
    results = read_results(study_dir, settings, space, settings.storage)
    data = report_data_of(study_dir, settings, space, results)
    atomic_write(study_dir.report, render_page(data))


def render_page(data: ReportData) -> str:
    """Return the HTML of the page."""
    completed = data.best is not None
    shares = importance(data) if completed else None
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            data=data,
            manifest=data.manifest,
            manifest_json=json.dumps(data.manifest, indent=2, ensure_ascii=False, default=str),
            space_name=Path(data.space.source).name,
            states=states_text(data),
            lead=lead(data),
            columns=[*_columns(data), *data.varied],
            trial_filters=list(_trial_filters(data)),
            fixed_parameters=_fixed_parameters(data),
            search_figures=search_figures(data) if completed else [],
            importance=shares,
            main_effects=main_effects(data.records, data.varied, data.metric),
            parameter_figures=parameter_figures(data, shares) if completed else [],
            cost_figures=cost_figures(data) if completed else [],
            budget=budget(data.records),
            failures=_failures(data),
            plotly=pack_plotly(),
        )
    )


def lead(data: ReportData) -> str:
    """Say which trial is the best and how far it is ahead."""
    if data.best is None:
        return "No trial has completed yet."
    best, metric, winner = data.best, data.metric, data.winner
    if winner is not None and winner.confirmation is not None and data.confirmed_ranking is not None:
        confirmation, verdict = data.confirmed_ranking
        score, on = interval_text(verdict.places[0].score, metric), seeds_text(confirmation.seeds)
        return f"Confirmed: trial {winner.trial} with {metric} {score} on {on}."
    word = "Best" if data.finished else "Best so far"
    start = f"{word}: trial {best.number} with {metric} {metric.text(best.score)}"
    if level := [r.number for r in data.ranked[1:] if r.score == best.score]:
        return f"{start}, level with {trials_text(level)}."
    if len(data.ranked) == 1:
        return f"{start}, the only one that completed."
    if best.predicted is not None:
        return f"{start}; predicted {predicted_text(best, metric)} on any seed."
    second = data.ranked[1]
    ahead = abs(float(best.score or 0.0) - float(second.score or 0.0))
    return f"{start}, {metric.text(ahead)} ahead of the next, trial {second.number}."


def _command_text(words: Sequence[str]) -> str:
    """Return a recorded command as a user would type it, without the directory of the program."""
    program = PurePath(words[0]).name if words else ""
    typed = {"__main__.py": ["python", "-m", "sasrecf_tune"], "sasrecf-tune": [program]}
    return shlex.join([*typed.get(program, words[:1]), *words[1:]])


@lru_cache
def _environment() -> Environment:
    environment = template_environment("sasrecf_tune.report.page", autoescape=True, finalize=_legible)
    environment.filters |= {
        "command": _command_text,
        "duration": format_duration,
        "epochs": epochs_text,
        "packed_json": pack_json,
        "percent": percent_text,
        "thousands": "{:,}".format,
        "timestamp": timestamp_text,
        "trials": trials_text,
        "upper_first": lambda text: text[:1].upper() + text[1:],
    }
    environment.tests["numeric"] = is_number
    environment.globals |= {
        "CONFIDENCE": CONFIDENCE,
        "bounds_sentence": bounds_sentence,
        "DASHBOARD_DIFFERS": DASHBOARD_DIFFERS,
        "LEAST_TRIALS": LEAST_TRIALS,
        "asset": _asset,
        "zip": zip,
    }
    environment.globals |= {
        "choice_text": choice_text,
        "has_predictions": has_predictions,
        "predicted_text": predicted_text,
        "regret_text": regret_text,
        "untried_text": untried_text,
        "heading": heading,
        "note": note,
        "place_cells": place_cells,
        "sentences": sentences,
        "users_heading": users_heading,
        "users_note": users_note,
        "users_table": users_table,
    }
    return environment


def _legible(value: Any) -> Any:
    # A change of direction in a text of somebody else would turn what the page says after it.
    return visible(value) if type(value) is str else value


def _asset(name: str) -> Markup:
    return _script(files("sasrecf_tune.report.page").joinpath(name).read_text(encoding="utf-8"))


def _script(text: str) -> Markup:
    """Our own CSS or JavaScript, unescaped; it cannot end its element."""
    from markupsafe import Markup

    return Markup(text.replace("</script", "<\\/script"))


def _columns(data: ReportData) -> list[str]:
    """The columns of the table of trials that stand before the parameters."""
    predicted = [PREDICTED] if has_predictions(data.rows) else []
    return ["rank", str(data.metric), *predicted, "trial", "state", "epochs", "time"]


def _trial_filters(data: ReportData) -> Iterator[tuple[str, int, list[str]]]:
    """Name, column and values of each drop-down list above the table of trials."""
    records = [row.record for row in data.rows]
    fixed = _columns(data)
    columns = [("state", fixed.index("state"), [record.state_text for record in records])]
    for column, name in enumerate(data.varied, start=len(fixed)):
        columns.append((name, column, [r.params[name] for r in records if name in r.params]))
    for name, column, values in columns:
        by_text = {cell_text(value): value for value in values}
        if 1 < len(by_text) <= _MOST_CHOICES:
            yield name, column, sorted(by_text, key=lambda text: value_order(by_text[text]))


def _fixed_parameters(data: ReportData) -> str:
    """Parameters that have one value in all trials, such as "n_layers 2, n_heads 1"."""
    params = data.rows[0].record.params if data.rows else {}
    names = [name for name in data.space.names if name in params and name not in data.varied]
    return ", ".join(f"{name} {cell_text(params[name])}" for name in names)


def _failures(data: ReportData) -> dict[str, list[int]]:
    """The numbers of the failed trials by their reason."""
    reasons: dict[str, list[int]] = {}
    for record in data.records:
        if record.state == State.FAILED:
            reasons.setdefault(record.error or "no reason was recorded", []).append(record.number)
    return reasons
