"""Decides which trials of earlier searches count as finished trials of a study, and why others do not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sasrecf_tune.analysis.earlier_work import EarlierWork
from sasrecf_tune.errors import InputError
from sasrecf_tune.inputs.constraints import resolve, violations
from sasrecf_tune.inputs.earlier_trials import EarlierTrial, value_in
from sasrecf_tune.inputs.hyperparameters import TABLE
from sasrecf_tune.inputs.literals import Scalar, Value
from sasrecf_tune.inputs.recbole_defaults import complete_config
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.inputs.unused_settings import has_effect
from sasrecf_tune.inputs.validation import check_config
from sasrecf_tune.inputs.value_conversion import convert
from sasrecf_tune.messages import Config
from sasrecf_tune.search.earlier.sources import Setup, Source
from sasrecf_tune.trials import cell_text

# Compared by themselves, or without effect on the score and the best epoch; a trial has a seed of its own.
_NOT_COMPARED = {"model", "dataset", "data_path", "metrics", "topk", "valid_metric", "seed"}
_LONGEST = 60
_UNKNOWN = "data, metric and settings are not recorded; with --trust they are taken to be those of this study"


@dataclass(frozen=True)
class Counted:
    """A trial that counts.

    Args:
        labels: Its configuration as Optuna stores it.
        score: The value of the study's metric.
        last: The last epoch of its configuration.
    """

    source: str
    labels: dict[str, Scalar]
    score: float
    last: int
    trial: EarlierTrial


@dataclass(frozen=True)
class Target:
    """The study that earlier trials are to count in.

    Args:
        base: The RecBole configuration that all trials share.
        data: The fingerprint of its data.
    """

    settings: RunSettings
    space: SearchSpace
    base: Config
    data: str


def match(sources: Sequence[Source], study: Target) -> tuple[list[EarlierWork], list[Counted]]:
    """Match all sources; returns what is to be said of each, and the trials that count."""
    summaries, counted = [], []
    for source in sources:
        summary, found = _Matcher(source, study).match()
        summaries.append(summary)
        counted += found
    return summaries, counted


class _Matcher:
    def __init__(self, source: Source, study: Target) -> None:
        self._source = source
        self._study = study
        self._trust = study.settings.earlier_work.trust

    def match(self) -> tuple[EarlierWork, list[Counted]]:
        """Match the trials of the source."""
        source = self._source
        of_all = list(self._objections())
        reasons: Counter[str] = Counter()
        counted: list[Counted] = []
        cells: set[tuple[Scalar, ...]] = set()
        of_space = 0
        for trial in source.trials:
            found, own = self._match_one(trial)
            if found is not None:
                of_space += 1
                cells.add(tuple(found.labels.values()))
            against = [*of_all, *own]
            reasons.update(against)
            if found is not None and not against:
                counted.append(found)
        if not source.trials:
            reasons.update(of_all)
        summary = EarlierWork(
            source=source.name,
            trials=len(source.trials),
            states=dict(source.others),
            of_space=of_space,
            configurations=len(cells),
            counted=len(counted),
            trusted=self._trust,
            assumed=source.setup is None and self._trust,
            reasons=dict(reasons.most_common()),
        )
        return summary, counted

    def _objections(self) -> Iterator[str]:
        """Why no trial of the source counts."""
        setup, settings = self._source.setup, self._study.settings
        if self._source.objection:
            yield self._source.objection
        if setup is None:
            if not self._trust and not self._source.objection:
                yield _UNKNOWN
            return
        if setup.model != settings.model:
            yield f"model {setup.model}, here {settings.model}"
        if setup.data != self._study.data:
            same = " of the same name" if setup.dataset == settings.dataset else f" ({setup.dataset:.40})"
            yield f"another data set{same}: fingerprint {setup.data:.16}, here {self._study.data}"
        if setup.metric.lower() != settings.metric.key:
            yield f"metric {setup.metric}, here {settings.metric}"

    def _match_one(self, trial: EarlierTrial) -> tuple[Counted | None, list[str]]:
        """A trial of this space, None if it is not; and why it does not count."""
        study, space = self._study, self._study.space
        setup = self._source.setup
        try:
            theirs = self._full(trial, setup)
        except InputError:
            return None, ["a setting has an invalid value"]
        params: dict[str, Value] = {}
        for parameter in space:
            name = parameter.name
            if setup is None and name not in trial.params:
                return None, [f"`{name}` is not recorded"]
            value = value_in(parameter, trial.params.get(name, theirs.get(name)))
            if not parameter.contains(value):
                return None, [f"`{name}` is outside this space"]
            params[name] = value
        ours = resolve(study.base | params)
        if violations(ours):
            return None, ["the configuration is not possible"]
        full = complete_config(ours)
        score = trial.valid.get(study.settings.metric.key, math.nan)
        found = Counted(self._source.name, space.encode(params), score, _epochs(full), trial)
        differences = self._differences(theirs, full, trial)
        return found, differences if math.isfinite(score) else [*differences, "no score"]

    def _full(self, trial: EarlierTrial, setup: Setup | None) -> Config:
        """The complete configuration of a trial; its parameters outside the space are checked."""
        settings = self._study.settings
        others = {key: value for key, value in trial.params.items() if key not in self._study.space.names}
        others = check_config(others, self._source.name)
        if setup is None:
            return complete_config(resolve(self._study.base | others))
        named = {"model": settings.model, "dataset": setup.dataset}
        inside = {key: value for key, value in trial.params.items() if key not in others}
        return complete_config(resolve(setup.config | named | others | inside))

    def _differences(self, theirs: Config, ours: Config, trial: EarlierTrial) -> list[str]:
        """The settings in which two complete configurations differ, outside of the space."""
        model, names = self._study.settings.model, self._study.space.names
        found = []
        for key in TABLE:
            if key in _NOT_COMPARED or key in names or not has_effect(key, model):
                continue
            one, other = convert(key, theirs.get(key)), convert(key, ours.get(key))
            if one == other or (key == "epochs" and _ended_early(trial, theirs, ours)):
                continue
            found.append(f"{key}={_text(one)}, here {_text(other)}")
        if not found and trial.epochs > _epochs(ours):
            found.append(f"trained {trial.epochs} epochs, here at most {_epochs(ours)}")
        return found


def _ended_early(trial: EarlierTrial, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Whether early stopping ended the trial before either limit on its epochs."""
    return 0 < trial.epochs < min(_epochs(theirs), _epochs(ours))


def _epochs(config: Mapping[str, Any]) -> int:
    epochs = config["epochs"]
    return int(epochs) if isinstance(epochs, int | float) else 0


def _text(value: object) -> str:
    text = cell_text(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
