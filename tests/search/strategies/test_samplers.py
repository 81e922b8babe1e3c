"""All samplers, in searches with fake training."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sasrecf_tune.inputs.settings import Sampler
from tests.support.bench import ENDLESS, GRID, bench, cells, quality
from tests.support.fake_training import FakeTraining
from tests.support.paths import ROOT


@pytest.mark.parametrize(
    ("sampler", "text", "trials"),
    [
        *(("tpe", GRID, 12), ("random", GRID, 12), ("qmc", GRID, 12), ("gp", GRID, 12)),
        *(("tpe", ENDLESS, 13), ("random", ENDLESS, 13), ("qmc", ENDLESS, 13)),
    ],
)
def test_samplers_propose_feasible_cells_and_none_twice(
    tmp_path: Path, sampler: Sampler, text: str, trials: int
) -> None:
    with bench(tmp_path, text, FakeTraining(quality), sampler, trials=trials) as run:
        run.search.run()
        records = run.records()
    assert len(set(cells(records))) == len(records) == trials
    assert all(record.params["n_heads"] != 3 for record in records)


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
@pytest.mark.parametrize("text", [GRID, ENDLESS])
def test_a_resumed_search_has_the_trials_of_an_uninterrupted_one(
    tmp_path: Path, sampler: Sampler, text: str
) -> None:
    with bench(tmp_path / "one", text, FakeTraining(quality), sampler, trials=10) as run:
        run.search.run()
        whole = run.records()
    for total in (1, 4, 5, 10):
        with bench(tmp_path / "pieces", text, FakeTraining(quality), sampler, trials=total) as run:
            run.search.run()
            pieces = run.records()
        assert len(pieces) == total
    assert [r.params for r in pieces] == [r.params for r in whole]
    assert [r.score for r in pieces] == [r.score for r in whole]


@pytest.mark.parametrize("sampler", ["gp"])
def test_a_proposal_imports_nothing_heavy(tmp_path: Path, sampler: str) -> None:
    """With a database on a server, other runs wait for each proposal."""
    script = """
import sys
from pathlib import Path
from sasrecf_tune.search.strategies.distributions import distributions
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.messages import Decision, Report, Result
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.search.plan import base_config, make_plan
from sasrecf_tune.search.study_setup import planned_study
from sasrecf_tune.inputs.settings import RunSettings, SearchSettings
from sasrecf_tune.storage.database.open import open_storage
from tests.support.fake_training import summary

space = parse("learning_rate loguniform -7, -3\\nn_layers choice [1, 2, 3, 4]\\n")
settings = RunSettings(params_file=Path("hyper.test"), name="study", base={}, metric=parse_metric("MRR@10"),
                       storage="postgresql://host/db", search=SearchSettings(sys.argv[1], "none"))
plan = make_plan(settings, space, base_config(settings, space), summary())
layout = StudyDirectory(Path("study").absolute())
layout.directory.mkdir()
study = planned_study(plan, layout, open_storage(layout, None))
before = set(sys.modules)
for number in range(12):
    trial = study.ask(distributions(space), lambda _: {"seed": 1})
    valid = {"mrr@10": number / 20}
    study.report(trial, Report(number, 4, number / 20, valid, 1.0, 0.1))
    study.tell(trial, Result(number, Decision.CONTINUE, 4, 4, valid, {}, {"mrr@10": [0.1]}, 0.1, "cpu", 1))
print(sorted(name for name in set(sys.modules) - before if name.count(".") <= 1))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, sampler]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert not {"torch", "scipy", "sklearn"} & {name.split(".")[0] for name in ast.literal_eval(done.stdout)}
