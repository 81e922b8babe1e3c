"""Count false claims about the effects of parameters: python -m benchmarks.report.effects --help."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from optuna.storages import InMemoryStorage

from benchmarks.common import start
from benchmarks.search.instant_training import fake_data_summary, report_scores
from sasrecf_tune.executors.inline import InlineExecutor
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.settings import Pruner, RunSettings, SearchSettings
from sasrecf_tune.messages import Decision, Job, Report, Result
from sasrecf_tune.search.coordinator import Coordinator
from sasrecf_tune.search.plan import base_config, make_plan
from sasrecf_tune.search.study_setup import planned_study
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.trials import TrialRecord
from tests.support.simulated_studies import (
    DESIGNS,
    METRIC,
    NOISE,
    NONE,
    SOME,
    VALUES,
    Claims,
    Effects,
    count_claims,
    final_score,
    simulated,
)

_EPOCHS = 8
# Searches, with and without pruning.
_SEARCHES: dict[str, Pruner] = {"random, pruned": "median", "random": "none"}

app = typer.Typer(add_completion=False)


def searched(pruner: Pruner, effects: Effects, count: int, seed: int) -> list[TrialRecord]:
    """Return the trials of a random search whose training is a formula."""
    space = parse(
        "learning_rate log 1e-4,1e-2\n"
        + "".join(f"{name} choice {list(values)}\n" for name, values in VALUES.items())
    )

    def train(job: Job, on_report: Callable[[Report], Decision]) -> Result:
        rng = random.Random(f"{seed} {job.number}")
        final = final_score(job.config, effects) + rng.gauss(0, NOISE)
        scores = [
            round(final * (1 - math.exp(-epoch / 2)) + rng.gauss(0, NOISE / 4), 4)
            for epoch in range(1, _EPOCHS + 1)
        ]
        return report_scores(job, iter(scores), on_report)

    settings = RunSettings(
        params_file=Path("hyper.test"),
        name="effects",
        out=Path("none"),
        dataset="simulated",
        base={},
        metric=METRIC,
        seed=seed,
        search=SearchSettings("random", pruner, count),
    )
    study_dir, data = StudyDirectory(Path("effects")), fake_data_summary(_EPOCHS)
    plan = make_plan(settings, space, base_config(settings, space), data)
    study = planned_study(plan, study_dir, InMemoryStorage())
    Coordinator(plan, study, study_dir, InlineExecutor(train, lambda _: data), []).run()
    return study.records()


@app.command()
def main(
    studies: Annotated[int, typer.Option(min=1, help="Studies of each design.")] = 500,
    searches: Annotated[int, typer.Option(min=0, help="Real searches of each kind, which are slow.")] = 100,
    trials: Annotated[str, typer.Option(help="Trials of a study.")] = "16,40,80",
) -> None:
    """Print, for each design, the share of studies with a claim and with a false one."""
    rows: list[dict[str, Any]] = []
    for what, effects in (("none", NONE), ("some", SOME)):
        for count in map(int, trials.split(",")):
            made: dict[str, Iterable[list[TrialRecord]]] = {
                design: map(partial(simulated, design, effects, count), range(studies)) for design in DESIGNS
            }
            for name, pruner in _SEARCHES.items():
                made[name] = map(partial(searched, pruner, effects, count), range(searches))
            for design, each in made.items():
                claims: dict[str, Claims] = {}
                for records in each:
                    count_claims(records, effects, claims)
                for parameter, counted in claims.items():
                    shares = {key: round(n / counted.studies, 3) for key, n in asdict(counted).items()}
                    row = {"effects": what, "trials": count, "design": design, "parameter": parameter}
                    rows.append(row | shares | {"studies": counted.studies})
    kinds = ("false_difference", "false_no_difference")
    print(
        json.dumps(
            {"worst": {kind: max(row[kind] for row in rows) for kind in kinds}, "rows": rows}, indent=1
        )
    )


if __name__ == "__main__":
    start(app)
