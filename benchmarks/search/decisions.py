"""Time the decisions of the default search: python -m benchmarks.search.decisions --help."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.common import start
from benchmarks.search.instant_training import fake_data_summary
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.inputs.option_values import Until
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.settings import RunSettings, SearchSettings
from sasrecf_tune.search.plan import base_config, make_plan
from sasrecf_tune.search.policy import Curve, CurveState, Labels, Step
from sasrecf_tune.search.study_setup import make_policy

_EPOCHS = 50
_SPACES = {
    120: "learning_rate choice [0.01, 0.005, 0.001, 0.0005, 0.0001]\nhidden_dropout_prob choice [0.2, 0.5]\n"
    "attn_dropout_prob choice [0.2, 0.5]\nn_layers choice [1, 2, 3]\nn_heads choice [1, 2]\n",
    100_000: "learning_rate choice [0.01, 0.005, 0.001, 0.0005, 0.0001]\n"
    "hidden_dropout_prob quniform 0,0.95,0.05\nattn_dropout_prob quniform 0,0.95,0.05\n"
    "n_layers int 1,5\nhidden_size choice [16, 32, 64, 128, 256]\n"
    "hidden_act choice ['gelu', 'relu']\n",
}
# An expected regret that is estimated in each decision and never reached.
_NEVER_MET = 1e-9
# Decisions that are timed, one after another; the first one fills caches and is not.
_DECISIONS = 24

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def measure(cells: int, trials: int) -> list[float]:
    """Return the milliseconds of processor time of consecutive decisions, the first one left out.

    The steps that are decided are trained in between, with made-up scores. So the times include those of
    decisions for which candidates are drawn anew, and of collecting garbage.
    """
    space = parse(_SPACES[cells])
    settings = RunSettings(
        params_file=Path("hyper.test"),
        name="decisions",
        base={},
        metric=parse_metric("MRR@10"),
        search=SearchSettings(until=Until(_NEVER_MET)),
    )
    plan = make_plan(settings, space, base_config(settings, space), fake_data_summary(_EPOCHS))
    policy = make_policy(plan)
    assert policy is not None and plan.cells is not None
    drawn = np.random.default_rng(0)
    bests = drawn.uniform(0.05, 0.1, trials + _DECISIONS).tolist()
    noise = 0.001 * drawn.standard_normal((trials + _DECISIONS, _EPOCHS))

    def curve(number: int, labels: Labels, epochs: int) -> Curve:
        scores = bests[number] * (1 - 0.7 * np.exp(-np.arange(1, 1 + epochs) / 4)) + noise[number, :epochs]
        known = dict(enumerate(scores.tolist(), start=1))
        state = CurveState.ENDED if epochs == _EPOCHS else CurveState.PAUSED
        return Curve(number, labels, known, state, checkpoint=epochs if epochs < _EPOCHS else 0)

    curves = [
        curve(number, labels, min(_EPOCHS - 1, int(drawn.geometric(0.2))))
        for number, labels in enumerate(random.Random(0).sample(list(plan.cells()), trials))
    ]
    taken = []
    for _ in range(_DECISIONS):
        started = time.process_time()
        step = policy.next_step(curves)
        taken.append(1000 * (time.process_time() - started))
        if not isinstance(step, Step):  # nothing is left to train
            break
        number = len(curves) if step.number is None else step.number
        curves[number : number + 1] = [curve(number, step.labels, step.until)]
    return taken[1:]


@app.command()
def main(marks: Annotated[str, typer.Option(help="Numbers of trials.")] = "10,100,1000") -> None:
    """Print the milliseconds of decisions after so many trials, for a small and a large grid.

    The median, the mean and the most of consecutive ones.
    """
    for cells in _SPACES:
        for trials in map(int, marks.split(",")):
            if trials < cells:
                taken = np.array(measure(cells, trials))
                found = {"ms": np.median(taken), "mean": taken.mean(), "most": taken.max()}
                rounded = {key: round(float(value), 1) for key, value in found.items()}
                print(json.dumps({"cells": cells, "trials": trials, **rounded}))


if __name__ == "__main__":
    start(app)
