"""Confirmations with given scores."""

from __future__ import annotations

from collections.abc import Sequence

from sasrecf_tune.analysis.confirmation import Confirmation
from sasrecf_tune.trials import State, TrialRecord


def confirmation(
    scores: Sequence[Sequence[float | None]], seconds: Sequence[float] = (), tests: bool = False
) -> Confirmation:
    """A row is a configuration, a column a seed; None has failed. Test scores are a tenth of the others."""
    seeds = tuple(2021 + column for column in range(len(scores[0])))
    runs = {
        (trial, seed): TrialRecord(
            number=trial * len(seeds) + seed - 2021,
            state=State.FAILED if score is None else State.COMPLETE,
            params={"n_layers": trial + 1, "seed": seed},
            score=score,
            seconds=seconds[trial] if seconds else 1.0,
            valid={} if score is None else {"mrr@10": score},
            error="a reason" if score is None else "",
        )
        for trial, row in enumerate(scores)
        for seed, score in zip(seeds, row, strict=True)
    }
    configurations = {trial: {"n_layers": trial + 1} for trial in range(len(scores))}
    found = {run: {"mrr@10": record.score / 10} for run, record in runs.items() if record.score is not None}
    return Confirmation(configurations, seeds, len(scores), runs, found if tests else {})
