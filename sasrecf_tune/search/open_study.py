"""Opens studies: creates, continues or reads them."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.study import StudyDirection

from sasrecf_tune.analysis.reproduction import diff_text
from sasrecf_tune.errors import StudyMismatchError, StudyNotFoundError
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.search.plan import decisive_settings
from sasrecf_tune.search.study import TuneStudy
from sasrecf_tune.storage.database.cached_storage import WriteThroughStorage
from sasrecf_tune.storage.database.coordination import SingleCoordinator, open_coordinated
from sasrecf_tune.storage.database.study_name import IDENTITY, recorded_name
from sasrecf_tune.storage.directory import ANOTHER_STUDY, StudyDirectory


def open_study(
    study_dir: StudyDirectory,
    storage: BaseStorage,
    space: SearchSpace,
    identity: Mapping[str, Any],
    maximize: bool,
    sampler: optuna.samplers.BaseSampler | None = None,
    pruner: optuna.pruners.BasePruner | None = None,
) -> TuneStudy:
    """Create the study, or continue it if it was created from the same `identity`.

    Raises:
        StudyMismatchError: the study has another identity; the message shows the difference.
        CorruptStudyError: the study is damaged.
    """
    name = recorded_name(storage, study_dir)
    direction = StudyDirection.MAXIMIZE if maximize else StudyDirection.MINIMIZE
    with contextlib.suppress(DuplicatedStudyError):
        storage.create_new_study([direction], name)
    memory, peers = open_coordinated(storage, name)
    study = optuna.load_study(study_name=name, storage=memory, sampler=sampler, pruner=pruner)
    plain = json.loads(json.dumps(dict(identity)))

    def identify() -> None:
        known = memory.read_study_attributes().get(IDENTITY)
        if known is None:
            if study.get_trials(deepcopy=False):
                raise StudyMismatchError(
                    f"the study {study_dir.name!r} was created by another program",
                    where=str(study_dir.directory),
                    fix=f"Move it away, or {ANOTHER_STUDY}",
                )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                study.set_metric_names([str(identity["metric"])])
            # Last: a study without it, whose creation was interrupted, is created again.
            study.set_user_attr(IDENTITY, plain)
        elif (known := _as_now(known)) != plain:
            raise StudyMismatchError(
                f"the study {study_dir.name!r} has different settings:\n{diff_text(known, plain)}",
                where=str(study_dir.directory),
                fix=f"Restore them, begin anew with --fresh (the trials are deleted), or {ANOTHER_STUDY}",
            )

    memory.transact(identify)
    return TuneStudy(study, memory, peers, space)


def _as_now(identity: Any) -> Any:
    """`identity` as it is recorded now: earlier versions recorded all settings, and as they were written."""
    match identity:
        case {"config": dict(config), "model": str(model)}:
            return {**identity, "config": decisive_settings(config, model)}
    return identity


def load_study(study_dir: StudyDirectory, storage: BaseStorage, space: SearchSpace) -> TuneStudy:
    """Open an existing study for reading.

    Raises:
        StudyNotFoundError: the database has no such study.
        CorruptStudyError: the study is damaged.
    """
    name = recorded_name(storage, study_dir)
    try:
        memory = WriteThroughStorage(storage, name)
        study = optuna.load_study(study_name=name, storage=memory)
    except KeyError as error:
        raise StudyNotFoundError(
            f"the database holds no study {name!r}", where=str(study_dir.directory)
        ) from error
    return TuneStudy(study, memory, SingleCoordinator(memory), space)
