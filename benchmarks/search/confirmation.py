"""Simulate confirmations: how often they find a better configuration, and how often they are wrong."""

from __future__ import annotations

import json
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.common import start
from sasrecf_tune.analysis.confirmation import ALPHA, Confirmation, Verdict, rank_confirmed
from sasrecf_tune.trials import State, TrialRecord

app = typer.Typer(add_completion=False)

# As on ml-100k: mean MRR@10, standard deviation between seeds, and of the part that a seed adds to all.
_MEAN, _SPREAD, _SHARED = 0.05, 0.001, 0.0005


def simulate_confirmation(
    draw: np.random.Generator, configurations: int, seeds: int, ahead: float
) -> Confirmation:
    """Return a confirmation whose first configuration is `ahead` standard deviations better than the others.

    Scores are rounded to four decimals, as RecBole does.
    """
    better = np.zeros((configurations, 1))
    better[0] = ahead * _SPREAD
    shared = draw.normal(0, _SHARED, (1, seeds))
    scores = _MEAN + better + shared + draw.normal(0, _SPREAD, (configurations, seeds))
    runs = {
        (trial, seed): TrialRecord(trial * seeds + seed, State.COMPLETE, {}, score=round(float(score), 4))
        for (trial, seed), score in np.ndenumerate(scores)
    }
    return Confirmation(
        {trial: {} for trial in range(configurations)}, tuple(range(seeds)), configurations, runs
    )


def share(outcomes: list[bool]) -> float:
    """Return the share of true values."""
    return sum(outcomes) / len(outcomes)


def any_worse(verdict: Verdict) -> bool:
    """Return whether any configuration is called worse than the first."""
    return verdict.tied < len(verdict.places)


def is_best(verdict: Verdict, trial: int) -> bool:
    """Return whether `trial` is called better than all others."""
    return verdict.tied == 1 and verdict.places[0].trial == trial


@app.command()
def main(
    studies: Annotated[int, typer.Option(min=1, help="Simulated confirmations of each kind.")] = 1000,
    configurations: Annotated[int, typer.Option(min=2, help="Configurations in each.")] = 5,
    seeds: Annotated[str, typer.Option(help="Numbers of seeds, separated by commas.")] = "3,5,10",
    ahead: Annotated[
        str, typer.Option(help="How much better the first is, in standard deviations between seeds.")
    ] = "1,2,3",
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 1,
) -> None:
    """Rank simulated confirmations and print the rates as JSON."""
    draw = np.random.default_rng(seed)

    def verdicts(count: int, distance: float) -> list[Verdict]:
        return [
            rank_confirmed(simulate_confirmation(draw, configurations, count, distance), maximize=True)
            for _ in range(studies)
        ]

    rows: list[dict[str, Any]] = []
    for count in map(int, seeds.split(",")):
        equal = verdicts(count, 0.0)
        rows.append(
            {
                "seeds": count,
                "equal": {
                    "any_called_worse": share([any_worse(verdict) for verdict in equal]),
                    "one_called_best": share([verdict.tied == 1 for verdict in equal]),
                },
                "better": [
                    {
                        "by_standard_deviations": distance,
                        "called_best": share([is_best(verdict, 0) for verdict in better]),
                        "another_called_best": share(
                            [verdict.tied == 1 and verdict.places[0].trial != 0 for verdict in better]
                        ),
                    }
                    for distance in map(float, ahead.split(","))
                    for better in [verdicts(count, distance)]
                ],
            }
        )
    result = {"studies": studies, "configurations": configurations, "stated_rate": ALPHA, "rates": rows}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    start(app)
