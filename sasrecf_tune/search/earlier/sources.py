"""Reads the trials of earlier searches: of `--prior` studies, and of the files of `--import-trials`."""

from __future__ import annotations

import contextlib
import math
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import msgspec
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sasrecf_tune.errors import InputError, StudyNotFoundError, TuneError
from sasrecf_tune.inputs.earlier_trials import EarlierTrial
from sasrecf_tune.inputs.hyper_result import is_hyper_result, parse_hyper_result
from sasrecf_tune.inputs.metrics import Metric
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.inputs.trials_table import is_trials_table, parse_trials_table
from sasrecf_tune.inputs.validation import check_config, check_model
from sasrecf_tune.search.trial_attributes import TrialReader, state_of
from sasrecf_tune.storage.database.cached_storage import WriteThroughStorage
from sasrecf_tune.storage.database.foreign import open_to_read, read_study
from sasrecf_tune.storage.database.optuna_internals import STUDY_ID
from sasrecf_tune.storage.database.study_name import IDENTITY, recorded_name, study_names
from sasrecf_tune.storage.directory import StudyDirectory, find_study, relative, study_directory
from sasrecf_tune.storage.files import read_own
from sasrecf_tune.storage.manifest import read_manifest, settings_from
from sasrecf_tune.storage.manifest_schema import UNREADABLE
from sasrecf_tune.storage.recorded_addresses import database_address
from sasrecf_tune.storage.url_masking import mask_address

_PRIOR, _IMPORT = "--prior", "--import-trials"
_SQLITE = b"SQLite format 3\0"
_MOST_NAMED = 10
_GIVE = "Give hyper.result, trials.csv, or an Optuna database: an SQLite file, or an address."


class _Identity(TypedDict):
    """What is read of the identity of a study (`Plan.identity`)."""

    model: str
    data: str
    metric: str
    space: dict[str, str]
    config: dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """How the trials of a study of this program were trained and measured."""

    model: str
    data: str
    metric: str
    dataset: str
    config: dict[str, Any]


@dataclass(frozen=True)
class Source:
    """The trials of one earlier search.

    Args:
        name: The study, file or address, without a password.
        trials: Those that were trained to their end and have parameters.
        others: How many were not, by their state.
        setup: None if it was not recorded.
        objection: Why no trial can count, whatever the setup; "" if they can.
    """

    name: str
    trials: tuple[EarlierTrial, ...]
    others: Mapping[str, int] = field(default_factory=dict)
    setup: Setup | None = None
    objection: str = ""


def read_sources(settings: RunSettings) -> list[Source]:
    """Read all earlier work that the settings name.

    Raises:
        InputError: Something named cannot be read.
    """
    earlier = settings.earlier_work
    own = study_directory(settings.out, settings.name)
    priors = [_read_prior(name, settings, own) for name in dict.fromkeys(earlier.prior)]
    return priors + [_read_import(place, settings.metric) for place in dict.fromkeys(earlier.import_trials)]


def _read_prior(name: str, settings: RunSettings, own: StudyDirectory) -> Source:
    where = f"{_PRIOR} {name}"
    try:
        with _damage_is_input(where):
            study_dir = find_study(settings.out, name)
            if study_dir.directory.resolve() == own.directory.resolve():
                raise InputError("a study cannot be its own prior", where=where, fix="Name another study.")
            known, _ = settings_from(study_dir)
            address = database_address(known, settings.storage if known.storage else None)
    except StudyNotFoundError as error:
        raise InputError(error.what, where=where, fix=error.fix) from error
    if address is None and not study_dir.database.is_file():
        raise InputError("the study has no database", where=where, fix="Name another study.")
    with open_to_read(str(study_dir.database) if address is None else address) as storage:
        recorded = recorded_name(storage, study_dir)
        try:
            study = read_study(storage, recorded)
        except KeyError as error:
            renamed = "If the directory was renamed, give it its old name; or name" if address else "Name"
            raise InputError(
                f"its database has no study {recorded!r}", where=where, fix=f"{renamed} another study."
            ) from error
        return _source(study, study_dir.name, settings.metric)


def _read_import(place: str, metric: Metric) -> Source:
    place = place.removeprefix("sqlite:///")
    shown = mask_address(place) if "://" in place else place
    path, name = _split(place)
    if "://" in place or _is_sqlite(Path(path), shown):
        with open_to_read(path) as storage:
            names = study_names(storage)
            if name is None and len(names) == 1:
                name = names[0]
            if name is None or name not in names:
                what = "the database has several studies" if name is None else f"it has no study {name!r}"
                raise InputError(
                    what if names else "the database has no study",
                    where=f"{_IMPORT} {shown}",
                    fix=f"Add # and one of: {', '.join(names[:_MOST_NAMED])}." if names else _GIVE,
                )
            return _source(read_study(storage, name), shown, metric)
    return _read_text(Path(path), shown)


def _split(place: str) -> tuple[str, str | None]:
    """The file or address, and the name of the study after #; None if there is none."""
    if "://" not in place and Path(place).exists():
        return place, None
    before, mark, name = place.rpartition("#")
    return (before, name) if mark else (place, None)


def _is_sqlite(path: Path, shown: str) -> bool:
    try:
        if not path.is_file():  # a pipe would be read up
            what = "this is a directory" if path.is_dir() else "not a regular file"
            what = what if path.exists() else "there is no such file"
            fix = _GIVE
            if StudyDirectory(path).manifest.is_file():
                what, fix = "this is a study directory", f"Use {_PRIOR} {shlex.quote(shown)}."
            raise InputError(what, where=f"{_IMPORT} {shown}", fix=fix)
        with path.open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError as error:
        raise InputError(f"cannot read: {error.strerror}", where=f"{_IMPORT} {shown}") from error
    except ValueError as error:  # a NUL in the name
        raise InputError("not the name of a file", where=_IMPORT) from error


def _read_text(path: Path, shown: str) -> Source:
    where = f"{_IMPORT} {shown}"
    try:
        text = read_own(path)
    except UnicodeDecodeError as error:
        line = bytes(error.object)[: error.start].count(b"\n") + 1
        raise InputError(
            "not UTF-8 text",
            where=f"{shown}:{line}",
            fix=_GIVE,
        ) from error
    except OSError as error:
        raise InputError(f"cannot read: {error.strerror}", where=where) from error
    others: Mapping[str, int] = {}
    results = is_hyper_result(text)
    if is_trials_table(text) or (path.suffix.lower() == ".csv" and text.strip() and not results):
        trials, others = parse_trials_table(text, shown)
    elif text.strip() and not results:
        raise InputError("the format of this file is not one that is read", where=where, fix=_GIVE)
    else:
        trials = parse_hyper_result(text, shown)
    return Source(shown, tuple(trials), others, _setup_beside(path))


def _setup_beside(path: Path) -> Setup | None:
    """The setup of the study whose result file this is; None if it is not in a study directory."""
    study_dir = StudyDirectory(path.absolute().parent)
    if path.absolute() not in study_dir.results() or not study_dir.manifest.is_file():
        return None
    with _damage_is_input():
        return _setup(read_manifest(study_dir).get("identity"), relative(study_dir.manifest))


@contextlib.contextmanager
def _damage_is_input(where: str = "") -> Iterator[None]:
    """Turn the error of a damaged study into one of the input, at `where` if it says no place."""
    try:
        yield
    except InputError:
        raise
    except TuneError as error:
        raise InputError(error.what, where=error.where or where, fix=error.fix) from error


def _setup(identity: object, where: str) -> Setup:
    try:
        known = msgspec.convert(identity, _Identity)
        check_model(known["model"])
        config = check_config(known["config"], where)
    except (*UNREADABLE, TuneError) as error:
        raise InputError(
            "what is recorded of the study's settings is damaged", where=where, fix="Use another copy of it."
        ) from error
    dataset = identity.get("dataset") if isinstance(identity, dict) else None
    return Setup(known["model"], known["data"], known["metric"], str(dataset), config)


def _source(study: WriteThroughStorage, name: str, metric: Metric) -> Source:
    """The trials of a study in memory, of this program or of another one.

    Raises:
        InputError: What is recorded of its settings is damaged.
        CorruptStudyError: A trial cannot be read.
    """
    attributes = study.get_study_user_attrs(STUDY_ID)
    trials = study.trials()
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    others = Counter(str(state_of(trial)) for trial in trials if trial.state != TrialState.COMPLETE)
    if IDENTITY not in attributes:
        objection = _objection(study, metric)
        found = () if objection else tuple(_of_another_program(complete, metric))
        return Source(name, found, others, objection=objection)
    setup = _setup(attributes[IDENTITY], name)
    try:
        space = parse("\n".join(msgspec.convert(attributes[IDENTITY], _Identity)["space"].values()), name)
    except TuneError as error:
        raise InputError("its search space is damaged", where=name, fix="Use another copy of it.") from error
    reader = TrialReader(space, setup.metric.lower())
    read: list[EarlierTrial] = []
    for trial in complete:
        reader.check(trial)
        record = reader.record(trial)
        read.append(
            EarlierTrial(
                params=record.params,
                valid=record.valid or {setup.metric.lower(): float(trial.value or math.nan)},
                test=trial.user_attrs.get("test", {}),
                seed=record.seed,
                epochs=record.epochs,
                best_epoch=record.best_epoch,
                seconds=record.seconds,
                curve=trial.intermediate_values,
                weights=record.weights,
            )
        )
    return Source(name, tuple(read), others, setup)


def _objection(study: WriteThroughStorage, metric: Metric) -> str:
    directions = study.get_study_directions(STUDY_ID)
    if len(directions) != 1:
        return f"it has {len(directions)} objectives"
    names = study.get_study_system_attrs(STUDY_ID).get("study:metric_names")
    if isinstance(names, list) and names and str(names[0]).lower() != metric.key:
        return f"its metric is {names[0]!s:.40}, here {metric}"
    if (directions[0] == StudyDirection.MAXIMIZE) != metric.maximize:
        return f"it {directions[0].name.lower()}s, but the best {metric} is the {_extreme(metric)}"
    return ""


def _extreme(metric: Metric) -> str:
    return "largest" if metric.maximize else "smallest"


def _of_another_program(trials: Iterable[FrozenTrial], metric: Metric) -> Iterable[EarlierTrial]:
    for trial in trials:
        curve = {
            step: float(score)
            for step, score in trial.intermediate_values.items()
            if isinstance(step, int) and isinstance(score, float) and 0 <= step < 10**6
        }
        if 0 in curve:  # epochs count from 1 here
            curve = {step + 1: score for step, score in curve.items()}
        seconds = trial.duration.total_seconds() if trial.duration is not None else 0.0
        score = float(trial.value) if trial.value is not None else math.nan
        yield EarlierTrial(
            params=dict(trial.params),
            valid={metric.key: score},
            epochs=max(curve, default=0),
            seconds=max(0.0, seconds),
            curve=curve,
        )
