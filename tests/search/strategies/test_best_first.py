"""The default sampler on scores with a known optimum."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasrecf_tune.inputs.constraints import resolve, violations
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.messages import Decision, Failure, Job, Report, Result
from sasrecf_tune.search.strategies.best_first import expected_improvement
from sasrecf_tune.search.strategies.candidates import Candidates
from sasrecf_tune.search.strategies.distributions import distributions
from sasrecf_tune.search.strategies.parameter_vectors import Embedding
from sasrecf_tune.trials import State
from tests.support.bench import bench
from tests.support.fake_training import FakeTraining
from tests.support.paths import ROOT
from tests.support.strategies import spaces

DOCUMENTED = (ROOT / "search_spaces" / "sasrecf.test").read_text()
ENDLESS = "learning_rate log 1e-5,1e-1\nhidden_dropout_prob uniform 0,0.8\nn_layers int 1,4\n"


def score_near(best: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], float]:
    """A score that falls with the distance from `best`, mostly with that of the learning rate."""

    def quality(config: Mapping[str, Any]) -> float:
        fall = 0.0
        for name, value in best.items():
            if name == "learning_rate":
                fall += abs(np.log10(config[name] / value))
            else:
                fall += abs(float(config[name]) - float(value)) / 4
        return 0.5 - fall / 8

    return quality


def found(directory: Path, text: str, best: Mapping[str, Any], sampler: Any, trials: int, seed: int) -> float:
    """The best score of `trials` trials; the optimum is 0.5."""
    with bench(directory, text, FakeTraining(score_near(best)), sampler, trials=trials, seed=seed) as run:
        run.search.run()
        return max(record.score or 0.0 for record in run.records())


@pytest.mark.parametrize("learning_rate", [0.01, 0.005, 0.0005])
def test_best_first_finds_the_optimum_of_the_documented_grid_in_a_sixth_of_its_cells(
    tmp_path: Path, learning_rate: float
) -> None:
    best = {"learning_rate": learning_rate, "n_layers": 3, "hidden_dropout_prob": 0.2, "n_heads": 1}
    assert found(tmp_path, DOCUMENTED, best, "best-first", 20, seed=1) == pytest.approx(0.5)


def test_best_first_beats_random_search_in_an_infinite_space(tmp_path: Path) -> None:
    best = {"learning_rate": 0.003, "hidden_dropout_prob": 0.35, "n_layers": 2}
    ours, theirs = (
        [found(tmp_path / f"{sampler}{seed}", ENDLESS, best, sampler, 25, seed) for seed in range(3)]
        for sampler in ("best-first", "random")
    )
    assert min(ours) > max(theirs)


def test_best_first_starts_with_recboles_defaults(tmp_path: Path) -> None:
    with bench(tmp_path, DOCUMENTED, FakeTraining(score_near({})), "best-first", trials=1) as run:
        run.search.run()
        (record,) = run.records()
    assert record.params == {
        "learning_rate": 0.001,
        "attn_dropout_prob": 0.5,
        "hidden_dropout_prob": 0.5,
        "n_heads": 2,
        "n_layers": 2,
    }


def test_a_running_trial_lowers_the_expected_improvement_near_it() -> None:
    x, points = np.array([[0.0], [1.0]]), np.array([[0.5]])
    y, none = np.array([0.1, 0.2]), np.empty((0, 1))
    alone = expected_improvement(x, y, none, points)
    beside = expected_improvement(x, y, np.array([[0.5]]), points)
    assert 0 < beside[0] < alone[0]


def test_expected_improvement_of_equal_scores_and_of_one_score_is_finite() -> None:
    none, points = np.empty((0, 1)), np.array([[0.5], [2.0]])
    for x, y in (([[0.0]], [0.0]), ([[0.0], [1.0]], [0.3, 0.3])):
        worth = expected_improvement(np.array(x), np.array(y), none, points)
        assert np.isfinite(worth).all() and worth[1] > worth[0]  # the more distant is less certain


@given(spaces(), st.integers(0, 2**31 - 1))
def test_candidates_are_in_the_space_and_can_be_embedded(space: SearchSpace, seed: int) -> None:
    candidates = Candidates(distributions(space), lambda _: True, None)
    embedding = Embedding(space)
    rng = random.Random(seed)
    some = candidates.draw(rng, [])[:20]
    points = []
    for labels in [*some, *candidates.draw(rng, some[:2])[-20:]]:
        values = space.decode(labels)
        assert all(parameter.contains(values[parameter.name]) for parameter in space)
        points.append(embedding.embed(values))
    assert np.isfinite(np.array(points)).all()


def test_candidates_are_feasible() -> None:
    space = parse("hidden_size int 60,64\nn_heads choice [1, 2, 4]\nlearning_rate log 1e-4,1e-1\n")

    def feasible(labels: Mapping[str, Any]) -> bool:
        return not violations(resolve(space.decode(labels)))

    candidates = Candidates(distributions(space), feasible, None)
    some = candidates.draw(random.Random(1), [])
    near = candidates.draw(random.Random(1), some[:3])
    assert all(map(feasible, [*some, *near]))
    assert len(near) > len(some)


def test_learning_rates_are_embedded_by_their_logarithms() -> None:
    embedding = Embedding(parse("learning_rate choice [0.01, 0.001, 0.0001]\n"))
    low, middle, high = (embedding.embed({"learning_rate": rate})[0] for rate in (0.0001, 0.001, 0.01))
    assert middle - low == pytest.approx(high - middle)


def test_categories_are_embedded_at_equal_distances() -> None:
    embedding = Embedding(parse("hidden_act choice ['gelu', 'relu', 'tanh']\n"))
    points = [np.array(embedding.embed({"hidden_act": act})) for act in ("gelu", "relu", "tanh")]
    same, *apart = sorted({round(float(np.linalg.norm(a - b)), 9) for a in points for b in points})
    assert same == 0.0 and len(apart) == 1


def test_equal_choices_of_different_types_have_different_points() -> None:
    embedding = Embedding(parse("weight_decay choice [0, 0.0]\n"))
    assert embedding.embed({"weight_decay": 0}) != embedding.embed({"weight_decay": 0.0})


def test_the_start_is_calculated_among_billions_of_values(tmp_path: Path) -> None:
    text = "learning_rate quniform 0,1,0.000000001\nhidden_size quniform 50,5000000000,7\n"
    with bench(tmp_path, text + "n_heads choice [1]\n", FakeTraining(score_near({})), trials=1) as run:
        run.search.run()
        (record,) = run.records()
    assert record.params["learning_rate"] == pytest.approx(0.001, rel=0.5)
    assert record.state == State.COMPLETE


def test_multiples_with_rounding_errors_are_the_same_cell(tmp_path: Path) -> None:
    # More cells than are all candidates, so that listed and calculated ones mix.
    rates = ", ".join(str(rate / 10000) for rate in range(1, 41))
    text = f"learning_rate choice [{rates}]\n"
    text += "".join(f"{part}_dropout_prob quniform 0.1,0.9,0.1\n" for part in ("hidden", "attn"))
    best = {"learning_rate": 0.002, "hidden_dropout_prob": 0.3, "attn_dropout_prob": 0.3}
    with bench(tmp_path, text, FakeTraining(score_near(best)), trials=60) as run:
        run.search.run()
        found = [tuple(record.params.values()) for record in run.records()]
    assert len(set(found)) == len(found) == 60


class WithEvalStep(FakeTraining):
    """Validates every `eval_step` epochs."""

    def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
        step = int(str(job.config["eval_step"]))

        def some(report: Report) -> Decision:
            return Decision.CONTINUE if report.epoch % step else on_report(report)

        return super().train(job, some)


def test_best_first_handles_trials_with_different_eval_steps(tmp_path: Path) -> None:
    text = "eval_step choice [1, 5]\nlearning_rate choice [0.1, 0.03, 0.01, 0.003, 0.001]\n"
    text += "n_layers choice [1, 2]\n"
    training = WithEvalStep(score_near({"learning_rate": 0.01}), epochs=10)
    with bench(tmp_path, text, training, pruner="median") as run:
        assert run.search.run().reason == "all 20 trials have ended"
        assert any(record.state == State.PRUNED for record in run.records())


def test_the_start_is_recboles_default_where_it_is_a_choice(tmp_path: Path) -> None:
    training = FakeTraining(lambda config: 0.1)
    with bench(tmp_path, "weight_decay choice [0.1, 0]\nlayer_norm_eps choice [1, 1e-12]\n", training) as run:
        run.search.run()
        first = run.records()[0].params
    assert first == {"weight_decay": 0, "layer_norm_eps": 1e-12}
