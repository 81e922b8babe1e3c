"""The winner of a study: the confirmed configuration, or the best of the search if none is confirmed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sasrecf_tune.analysis.confirmation import Confirmation, best_configurations, best_run, rank_confirmed
from sasrecf_tune.trials import TrialRecord, best


@dataclass(frozen=True)
class Winner:
    """What best.yaml reproduces.

    Args:
        record: A trial of the search, or a run of `confirmation` if there is one.
        trial: The number of the trial of the search that has the configuration.
    """

    record: TrialRecord
    trial: int
    confirmation: Confirmation | None = None


def pick_winner(
    records: Iterable[TrialRecord], complete: Confirmation | None, maximize: bool, unit: float
) -> Winner | None:
    """Pick the first of the last complete confirmation, with its best seed on validation.

    Args:
        complete: The last complete confirmation.
        unit: The last digit of a score.

    Returns:
        The best trial of the search if there is no complete confirmation, or if the search has since found a
        better configuration. None if no trial has completed.
    """
    ended = list(records)
    first = best(ended, maximize)
    confirmed = list(complete.configurations.values()) if complete is not None else []
    best_params = best_configurations(ended, maximize, 1).values()
    if complete is not None and all(params in confirmed for params in best_params):
        verdict = rank_confirmed(complete, maximize, unit)
        # Without common seeds the means are not compared.
        run = best_run(complete, verdict.places[0].trial, maximize) if verdict.seeds else None
        if run is not None:
            return Winner(run, verdict.places[0].trial, complete)
    return None if first is None else Winner(first, first.number)
