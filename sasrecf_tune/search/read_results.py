"""What a study's database holds, read by commands that train nothing."""

from __future__ import annotations

from sasrecf_tune.analysis.report_data import Origin, Results
from sasrecf_tune.analysis.winner import choose
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.storage.directory import Layout


def read_results(
    layout: Layout, settings: RunSettings, space: SearchSpace, storage: str | None = None
) -> Results:
    """Read the study, from `storage` where it is given.

    Raises:
        TuneError: the database cannot be read, or holds no such study.
    """
    from sasrecf_tune.search.confirmation_study import load_confirmations
    from sasrecf_tune.search.study import load_study
    from sasrecf_tune.storage.database.errors import check_database, reading_errors
    from sasrecf_tune.storage.database.open import open_storage

    url = settings.database(storage)
    check_database(layout, url)
    with reading_errors(layout, url):
        backend = open_storage(layout, url)
        study = load_study(layout, backend, space)
        records = study.records()
        runs, whole, asked = load_confirmations(layout, backend, space, records)
        chosen = choose(records, whole, settings.metric.maximize, settings.unit)
        source = runs if chosen and chosen.confirmation else study
        origin = Origin(**source.origin(chosen.record.number)) if chosen and source else None
        return Results(
            records,
            study.test_metrics(),
            whole,
            asked,
            chosen,
            origin,
            study.curves(),
            study.seconds_spent(),
            runs.records() if runs else [],
        )
