"""What a study has come to: the confirmed configuration, or while there is none the first of the search."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sasrecf_tune.analysis.confirmation import Confirmation, best_configurations, best_run, rank_confirmed
from sasrecf_tune.trials import TrialRecord, best


@dataclass(frozen=True)
class Winner:
    """What `best.yaml` reproduces: a trial of the search, or, where `confirmation` is given, a run of it."""

    record: TrialRecord
    trial: int
    confirmation: Confirmation | None = None


def pick_winner(
    records: Iterable[TrialRecord], whole: Confirmation | None, maximize: bool, unit: float
) -> Winner | None:
    """The first place of the last `whole` confirmation, with the seed that was best for it on validation.

    The first trial of the search where there is none, or where the search has gone on since and found a
    better one: it has yet to be confirmed. None when no trial has completed.
    """
    ended = list(records)
    first = best(ended, maximize)
    confirmed = list(whole.configurations.values()) if whole is not None else []
    if whole is not None and all(p in confirmed for p in best_configurations(ended, maximize, 1).values()):
        verdict = rank_confirmed(whole, maximize, unit)
        # Means over different seeds are not compared.
        run = best_run(whole, verdict.places[0].trial, maximize) if verdict.seeds else None
        if run is not None:
            return Winner(run, verdict.places[0].trial, whole)
    return None if first is None else Winner(first, first.number)
