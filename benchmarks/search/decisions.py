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
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.settings import RunSettings, SearchSettings
from sasrecf_tune.search.plan import base_config, make_plan
from sasrecf_tune.search.policy import Curve, CurveState
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
_REPEATS = 5

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def measure(cells: int, trials: int) -> float:
    """Return the milliseconds of processor time of a decision, a median."""
    space = parse(_SPACES[cells])
    settings = RunSettings(
        params_file=Path("hyper.test"),
        name="decisions",
        base={},
        metric=parse_metric("MRR@10"),
        search=SearchSettings(trials=trials + 1),
    )
    plan = make_plan(settings, space, base_config(settings, space), fake_data_summary(_EPOCHS))
    policy = make_policy(plan)
    assert policy is not None and plan.cells is not None
    drawn = np.random.default_rng(0)
    curves = []
    for number, labels in enumerate(random.Random(0).sample(list(plan.cells()), trials)):
        best = drawn.uniform(0.05, 0.1)
        epochs = np.arange(1, 1 + min(_EPOCHS - 1, drawn.geometric(0.2)))
        scores = best * (1 - 0.7 * np.exp(-epochs / 4)) + 0.001 * drawn.standard_normal(len(epochs))
        known = dict(zip(epochs.tolist(), scores.tolist(), strict=True))
        curves.append(Curve(number, labels, known, CurveState.PAUSED, checkpoint=len(known)))
    taken = []
    for _ in range(_REPEATS + 1):  # the first one fills caches
        curves[-1] = Curve(curves[-1].number, curves[-1].labels, dict(curves[-1].scores), CurveState.PAUSED)
        started = time.process_time()
        policy.next_step(curves)
        taken.append(time.process_time() - started)
    return 1000 * float(np.median(taken[1:]))


@app.command()
def main(marks: Annotated[str, typer.Option(help="Numbers of trials.")] = "10,100,1000") -> None:
    """Print the milliseconds of a decision after so many trials, for a small and a large grid."""
    for cells in _SPACES:
        for trials in map(int, marks.split(",")):
            if trials < cells:
                print(json.dumps({"cells": cells, "trials": trials, "ms": round(measure(cells, trials), 1)}))


if __name__ == "__main__":
    start(app)
