"""Studies with a known truth, as a search would have left them, for what reads studies.

`python -m tests.support.known_studies DIR --trials 1000` writes one to DIR/planted.
"""

from __future__ import annotations

import argparse
import math
import random
from pathlib import Path
from typing import Any

from optuna.trial import TrialState, create_trial

from sasrecf_tune.analysis.report_data import ReportData
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import RunSettings, SearchSettings
from sasrecf_tune.search.open_study import open_study
from sasrecf_tune.search.strategies.distributions import distributions
from sasrecf_tune.storage.database.open import open_storage
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.manifest import settings_content, write_manifest
from sasrecf_tune.trials import State, TrialRecord

SPACE = """\
learning_rate log 1e-4,1e-2
n_layers choice [1, 2, 3]
n_heads choice [1, 2]
hidden_size choice [32, 64, 128]
hidden_dropout_prob choice [0.2, 0.35, 0.5]
hidden_act choice [gelu, relu]
selected_features choice [[class], [class, release_year]]
train_batch_size choice [2048]
"""
NAME = "planted"
METRICS = ("mrr@10", "ndcg@10", "hit@10")
# What must come through every format as it is.
NASTY = "RuntimeError: </script><script>document.title='run'</script> \"50%\" & 'a_b'\n#1 {x} \\ ~^ <b>é"
EPOCHS = 30


def truth(params: dict[str, Any]) -> float:
    """The score that a configuration would have without noise: n_layers 2 is better than 1 by 0.004."""
    score = 0.052 - 0.012 * math.log10(params["learning_rate"] / 1e-3) ** 2
    score += {1: -0.004, 2: 0.0, 3: -0.001}[params["n_layers"]]
    score += {32: -0.003, 64: 0.0, 128: 0.0005}[params["hidden_size"]]
    score += 0.006 * (0.35 - abs(params["hidden_dropout_prob"] - 0.35))
    return float(score)


def settings(out: Path) -> RunSettings:
    return RunSettings(
        params_file=out / "planted.test",
        name=NAME,
        out=out,
        dataset="ml-100k",
        base={"epochs": EPOCHS, "stopping_step": 5},
        metric=parse_metric("MRR@10"),
        search=SearchSettings(sampler="freeze-thaw", pruner="median"),
    )


def planted_trials(count: int, seed: int) -> list[tuple[TrialRecord, list[float]]]:
    """Records and curves: of 20 trials 12 complete, 7 are pruned, one fails."""
    rng = random.Random(seed)
    space = parse(SPACE)
    made: list[tuple[TrialRecord, list[float]]] = []
    for number in range(count):
        params: dict[str, Any] = {"learning_rate": 10 ** rng.uniform(-4, -2)}
        params |= {p.name: rng.choice(list(p.values)) for p in space if p.size}
        final = truth(params) + rng.gauss(0, 0.0008)
        state = (
            State.FAILED
            if number % 20 == 13
            else State.PRUNED
            if number % 20 in (2, 4, 7, 10, 11, 15, 18)
            else State.COMPLETE
        )
        epochs = {State.FAILED: 2, State.PRUNED: rng.randint(3, 9)}.get(state, rng.randint(20, EPOCHS))
        curve = [
            round(max(0.0, final * (1 - math.exp(-epoch / 5)) + rng.gauss(0, 0.0004)), 4)
            for epoch in range(1, epochs + 1)
        ]
        best = max(curve)
        width = params["hidden_size"]
        layers = params["n_layers"]
        made.append(
            (
                TrialRecord(
                    number,
                    state,
                    params,
                    score=None if state == State.FAILED else best,
                    seed=2020,
                    epochs=epochs,
                    best_epoch=0 if state == State.FAILED else curve.index(best) + 1,
                    seconds=round(epochs * (2 + layers * width / 16) * rng.uniform(0.9, 1.1), 3),
                    valid={}
                    if state == State.FAILED
                    else {key: round(best * (1 + i), 4) for i, key in enumerate(METRICS)},
                    error=NASTY if state == State.FAILED else "",
                    weights=0 if state == State.FAILED else 1700 * width + layers * 12 * width * width,
                ),
                curve,
            )
        )
    return made


def manifest(space: SearchSpace, out: Path, count: int) -> dict[str, Any]:
    data: dict[str, Any] = {
        "dataset": "ml-100k",
        "users": 943,
        "items": 1682,
        "interactions": 100_000,
        "fingerprint": "abc",
    }
    data |= {"train_samples": 97_171, "metric_keys": list(METRICS), "device": "cpu", "threads": 2}
    return settings_content(settings(out), space, None) | {
        "identity": {},
        "data": data,
        "sampler": "freeze-thaw",
        "pruner": {"name": "median"},
        "planned_trials": count,
        "earlier": [],
    }


def known_report_data(count: int) -> ReportData:
    """Such a study without a directory."""
    space = parse(SPACE, "planted.test")
    made = planted_trials(count, seed=0)
    shown: dict[str, Any] = {"created": "2026-01-01T10:00:00+00:00", "updated": "2026-01-02T10:00:00+00:00"}
    shown |= {"sasrecf_tune": "0.1.0", "command": ["sasrecf-tune", "run"], "versions": {"torch": "2.13.0"}}
    shown |= {"machine": {"system": "Linux", "cores": 2, "python": "3.11.9"}}
    return ReportData(
        NAME,
        parse_metric("MRR@10"),
        space,
        [record for record, _ in made],
        {record.number: list(enumerate(curve, 1)) for record, curve in made},
        manifest(space, Path("tuning"), count) | shown,
        sum(record.seconds for record, _ in made),
    )


def plant(out: Path, count: int, seed: int = 0) -> StudyDirectory:
    """Write such a study to `out`/planted, with its database and manifest."""
    study_dir = StudyDirectory(out / NAME)
    study_dir.directory.mkdir(parents=True)
    space = parse(SPACE, "planted.test")
    storage = open_storage(study_dir, None)
    study = open_study(study_dir, storage, space, {"metric": "MRR@10"}, True)
    states = {
        State.COMPLETE: TrialState.COMPLETE,
        State.PRUNED: TrialState.PRUNED,
        State.FAILED: TrialState.FAIL,
    }
    of = distributions(space)
    with study.storage.transaction():
        for record, curve in planted_trials(count, seed):
            attributes: dict[str, Any] = {"seed": record.seed, "epochs": record.epochs}
            attributes |= {"seconds": record.seconds, "valid": record.valid, "best_epoch": record.best_epoch}
            attributes |= {"error": record.error, "parameters": record.weights}
            study.optuna.add_trial(
                create_trial(
                    state=states[record.state],
                    params=space.encode(record.params),
                    distributions=of,
                    value=record.score if record.state == State.COMPLETE else None,
                    user_attrs=attributes,
                    intermediate_values=dict(enumerate(curve, 1)),
                )
            )
    study.add_seconds(sum(record.seconds for record in study.records()))
    storage.engine.dispose()
    write_manifest(study_dir, manifest(space, out, count))
    return study_dir


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--trials", type=int, default=40)
    options = parser.parse_args()
    print(plant(options.directory.absolute(), options.trials).directory)
