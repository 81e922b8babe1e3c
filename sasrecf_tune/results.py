"""What a study's database holds, read by commands that train nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from sasrecf_tune.chosen import Chosen, choose
from sasrecf_tune.confirmation import Confirmation
from sasrecf_tune.layout import Layout
from sasrecf_tune.ranking import TrialRecord
from sasrecf_tune.settings import RunSettings
from sasrecf_tune.space import SearchSpace

Curves = dict[int, list[tuple[int, float]]]


@dataclass(frozen=True)
class Origin:
    """On what a trial was trained, and what came out."""

    valid: dict[str, float]
    test: dict[str, float]
    device: str
    threads: int
    fused: int = 1


@dataclass(frozen=True)
class Results:
    """All trials of the search, the last confirmation that was trained to its end, and the last asked for.

    `tests` are by trial, and so are `curves`: (epoch, score). `seconds` is what all runs of the search have
    taken. `origin` is that of what was chosen, where there is such. `runs` are those of all confirmations.
    """

    records: list[TrialRecord]
    tests: dict[int, dict[str, float]] = field(default_factory=dict)
    whole: Confirmation | None = None
    asked: Confirmation | None = None
    chosen: Chosen | None = None
    origin: Origin | None = None
    curves: Curves = field(default_factory=dict)
    seconds: float = 0.0
    runs: list[TrialRecord] = field(default_factory=list)

    @property
    def confirmation(self) -> Confirmation | None:
        """What there is to show of one: the whole one, else what there is of the one asked for."""
        return self.whole or self.asked


def read_results(
    layout: Layout, settings: RunSettings, space: SearchSpace, storage: str | None = None
) -> Results:
    """Read the study, from `storage` where it is given.

    Raises:
        TuneError: the database cannot be read, or holds no such study.
    """
    from sasrecf_tune.confirmation_study import load_confirmations
    from sasrecf_tune.damage import check_database, reading_errors
    from sasrecf_tune.storage import open_storage
    from sasrecf_tune.study import load_study

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
