"""How often a confirmation is wrong, and how often it finds what is there: see benchmarks/README.md."""

from __future__ import annotations

import json
from typing import Annotated, Any

import numpy as np
import typer
from entry import start

from sasrecf_tune.analysis.confirmation import ALPHA, Confirmation, Verdict, rank_confirmed
from sasrecf_tune.trials import State, TrialRecord

app = typer.Typer(add_completion=False)

# Of a data set such as ml-100k: a mean MRR@10, how it varies between seeds, and what seeds have in common.
_MEAN, _SPREAD, _SHARED = 0.05, 0.001, 0.0005


def study(draw: np.random.Generator, configurations: int, seeds: int, ahead: float) -> Confirmation:
    """A confirmation whose first configuration is `ahead` seed standard deviations better than the others.

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


def rate(outcomes: list[bool]) -> float:
    """The share of what is true."""
    return sum(outcomes) / len(outcomes)


def called_worse(verdict: Verdict) -> bool:
    """Whether any configuration is called worse than the first."""
    return verdict.tied < len(verdict.places)


def found(verdict: Verdict, trial: int) -> bool:
    """Whether `trial` is called better than all others."""
    return verdict.tied == 1 and verdict.places[0].trial == trial


@app.command()
def main(
    studies: Annotated[int, typer.Option(min=1, help="Simulated confirmations of each kind.")] = 1000,
    configurations: Annotated[int, typer.Option(min=2, help="Configurations in each.")] = 5,
    seeds: Annotated[str, typer.Option(help="Numbers of seeds, separated by commas.")] = "3,5,10",
    ahead: Annotated[
        str, typer.Option(help="How much better the first is, in standard deviations between seeds.")
    ] = "1,2,3",
    seed: Annotated[int, typer.Option(help="Of the simulation.")] = 1,
) -> None:
    """Judge simulated confirmations and print the rates as JSON."""
    draw = np.random.default_rng(seed)

    def verdicts(count: int, distance: float) -> list[Verdict]:
        return [
            rank_confirmed(study(draw, configurations, count, distance), maximize=True)
            for _ in range(studies)
        ]

    rows: list[dict[str, Any]] = []
    for count in map(int, seeds.split(",")):
        equal = verdicts(count, 0.0)
        rows.append(
            {
                "seeds": count,
                "equal": {
                    "any_called_worse": rate([called_worse(verdict) for verdict in equal]),
                    "one_called_best": rate([verdict.tied == 1 for verdict in equal]),
                },
                "better": [
                    {
                        "by_standard_deviations": distance,
                        "called_best": rate([found(verdict, 0) for verdict in better]),
                        "another_called_best": rate(
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
