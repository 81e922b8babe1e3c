"""Reads the results of a study, for commands that train nothing."""

from __future__ import annotations

import contextlib

from sasrecf_tune.analysis.report_data import Origin, Results
from sasrecf_tune.analysis.winner import pick_winner
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.storage.directory import StudyDirectory


def read_results(
    study_dir: StudyDirectory, settings: RunSettings, space: SearchSpace, storage: str | None
) -> Results:
    """Read a study's trials, confirmations and winner; `storage` is the address of a database on a server.

    Raises:
        TuneError: the database cannot be read, or holds no such study.
    """
    from sasrecf_tune.search.confirmation_study import load_confirmations
    from sasrecf_tune.search.open_study import load_study
    from sasrecf_tune.storage.database.errors import check_database, reading_errors
    from sasrecf_tune.storage.database.open import open_storage
    from sasrecf_tune.storage.database.study_name import renamed_note

    check_database(study_dir, storage)
    with reading_errors(study_dir, storage), contextlib.ExitStack() as stack:
        backend = open_storage(study_dir, storage)
        stack.callback(backend.engine.dispose)  # else its connections stay until the garbage is collected
        study = load_study(study_dir, backend, space)
        records = study.records()
        runs, completed, asked = load_confirmations(study_dir, backend, space, records)
        winner = pick_winner(records, completed, settings.metric.maximize, settings.unit)
        source = runs if winner and winner.confirmation else study
        origin = Origin(**source.origin(winner.record.number)) if winner and source else None
        return Results(
            records,
            study.test_metrics(),
            completed,
            asked,
            winner,
            origin,
            study.curves(),
            study.seconds_spent(),
            runs.records() if runs else [],
            study.current_summary(),
            renamed_note(backend, study_dir),
        )
