"""What the report says of parameters, on studies whose truth is known."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from sasrecf_tune.analysis.binning import binned
from sasrecf_tune.analysis.budget import budget, pareto
from sasrecf_tune.analysis.importance import LEAST_TRIALS, importance
from sasrecf_tune.analysis.main_effects import MainEffect, main_effects
from sasrecf_tune.analysis.report_data import ReportData
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.trials import State, TrialRecord
from tests.support.known_studies import known_report_data
from tests.support.simulated_studies import (
    DESIGNS,
    NONE,
    SOME,
    Claims,
    Design,
    Effects,
    count_claims,
    simulated,
)

METRIC = parse_metric("MRR@10")
NAMES = ("n_layers", "n_heads", "learning_rate")
SPACE = parse("n_layers choice [1, 2, 3]\nn_heads choice [1, 2]\nlearning_rate log 1e-4,1e-2\n")


def trials(
    count: int, seed: int, score: Callable[[dict[str, float]], float], noise: float = 0.001
) -> list[TrialRecord]:
    rng = random.Random(seed)
    made = []
    for number in range(count):
        params: dict[str, float] = {"n_layers": rng.choice([1, 2, 3]), "n_heads": rng.choice([1, 2])}
        params |= {"learning_rate": 10 ** rng.uniform(-4, -2)}
        final = score(params) - 0.01 * abs(math.log10(params["learning_rate"]) + 3)
        made.append(TrialRecord(number, State.COMPLETE, params, score=final + rng.gauss(0, noise)))
    return made


def of(name: str, found: list[MainEffect]) -> MainEffect:
    return next(one for one in found if one.name == name)


def better_by(amount: float) -> Callable[[dict[str, float]], float]:
    return lambda params: 0.05 + amount * (params["n_layers"] == 2)


def test_real_difference_is_found_with_its_size() -> None:
    found = main_effects(trials(90, 0, better_by(0.004)), NAMES, METRIC)
    layers = of("n_layers", found)
    assert layers.levels[0].label == "2" and layers.levels[0].behind == 0
    assert all(
        level.is_worse and abs((level.behind or 0) - 0.004) < level.margin for level in layers.levels[1:]
    )
    assert layers.sentence(METRIC).startswith("2 beats ") and "±" in layers.sentence(METRIC)
    assert set(layers.adjusted_for) == {"n_heads", "learning_rate"}
    assert "cannot be told apart (the difference is at most 0.0" in of("n_heads", found).sentence(METRIC)


def test_minimised_metric() -> None:
    worse = [
        TrialRecord(r.number, r.state, r.params, score=-(r.score or 0.0))
        for r in trials(90, 0, better_by(0.004))
    ]
    assert of("n_layers", main_effects(worse, NAMES, parse_metric("GiniIndex@10"))).levels[0].label == "2"


def test_false_positive_rate_and_coverage() -> None:
    studies = 300
    wrong = covered = 0
    for seed in range(studies):
        same = of("n_layers", main_effects(trials(36, seed, better_by(0.0)), NAMES, METRIC))
        wrong += any(level.is_worse for level in same.levels)
        other = of("n_layers", main_effects(trials(36, seed, better_by(0.02)), NAMES, METRIC))
        covered += all(abs((level.behind or 0.0) - 0.02) <= level.margin for level in other.levels[1:])
    # 1% is said. Of 300 studies up to 9 would still be chance at 1%.
    assert wrong / studies <= 0.03
    assert covered / studies >= 0.97


def test_correlated_parameters_are_adjusted_for() -> None:
    # n_heads does nothing, but was 2 mostly where n_layers was 2.
    rng = random.Random(1)
    records = []
    for number in range(80):
        layers = rng.choice([1, 2])
        heads = layers if rng.random() < 0.85 else 3 - layers
        final = 0.05 + 0.01 * (layers == 2) + rng.gauss(0, 0.001)
        records.append(
            TrialRecord(number, State.COMPLETE, {"n_layers": layers, "n_heads": heads}, score=final)
        )
    heads_alone = of("n_heads", main_effects(records, ("n_heads",), METRIC))
    assert heads_alone.levels[1].is_worse
    assert not of("n_heads", main_effects(records, ("n_layers", "n_heads"), METRIC)).levels[1].is_worse


def test_too_few_trials_and_values_that_never_completed() -> None:
    few = [TrialRecord(i, State.COMPLETE, {"n_layers": i % 2 + 1}, score=0.1 * i) for i in range(4)]
    (found,) = main_effects(few, ("n_layers",), METRIC)
    assert found.sentence(METRIC) == "not known: too few completed trials"
    pruned = [TrialRecord(100 + i, State.PRUNED, {"n_layers": 3}, score=0.01) for i in range(3)]
    (found,) = main_effects([*trials(60, 0, better_by(0.004)), *pruned], ("n_layers",), METRIC)
    assert "no trial completed" not in found.sentence(METRIC)
    only = [r for r in trials(60, 0, better_by(0.004)) if r.params["n_layers"] != 3]
    (found,) = main_effects([*only, *pruned], ("n_layers",), METRIC)
    last = found.levels[-1]
    assert (last.label, last.completed, last.pruned, last.behind) == ("3", 0, 3, None)
    assert "3 not known: no trial completed" in found.sentence(METRIC)


@pytest.mark.parametrize("decimals", [4, 6])
def test_equal_scores_have_the_margin_of_rounding(decimals: int) -> None:
    metric = replace(METRIC, decimals=decimals)
    records = [TrialRecord(i, State.COMPLETE, {"n_layers": i % 2 + 1}, score=0.05) for i in range(12)]
    (found,) = main_effects(records, ("n_layers",), metric)
    assert not found.levels[1].is_worse and 0 < found.levels[1].margin < metric.unit
    least = f"{metric.unit:.{decimals}f}"
    assert found.sentence(metric) == f"1 and 2 cannot be told apart (the difference is at most {least})"


def test_values_that_were_tried_with_those_of_one_other_parameter_are_confounded() -> None:
    # All of them decide, but each n_layers has its own n_heads.
    records = [
        TrialRecord(i, State.COMPLETE, {"n_layers": i % 3 + 1, "n_heads": i % 3}, score=0.01 * (i % 3))
        for i in range(30)
    ]
    for found in main_effects(records, ("n_layers", "n_heads"), METRIC):
        assert not found.worse and not found.close
        other = {"n_layers": "n_heads", "n_heads": "n_layers"}[found.name]
        assert found.sentence(METRIC) == f"not known: confounded with {other}"


def test_a_value_whose_trials_were_pruned_is_not_called_as_good_as_another() -> None:
    lucky = [TrialRecord(i, State.COMPLETE, {"n_layers": i % 2 + 1}, score=0.05) for i in range(20)]
    pruned = [TrialRecord(50 + i, State.PRUNED, {"n_layers": 2}, score=0.01) for i in range(20)]
    (found,) = main_effects([*lucky, *pruned], ("n_layers",), METRIC)
    assert found.sentence(METRIC) == "not known: 20 of 30 trials with 2 were pruned"


@pytest.mark.parametrize("effects", [NONE, SOME], ids=["no effect", "effects"])
@pytest.mark.parametrize("design", DESIGNS)
def test_false_claims_are_rarer_than_5_percent(design: Design, effects: Effects) -> None:
    claims: dict[str, Claims] = {}
    studies = 60
    for seed in range(studies):
        count_claims(simulated(design, effects, (16, 40, 80)[seed % 3], seed), effects, claims)
    for name, counted in claims.items():
        # Of 60 studies up to 7 would be chance at 5%; all parameters together are held to less.
        assert counted.false_difference <= 7 and counted.false_no_difference <= 7, (name, counted)
    for kind in ("false_difference", "false_no_difference"):
        assert sum(getattr(counted, kind) for counted in claims.values()) / (studies * len(claims)) <= 0.05


def test_real_effects_are_found_where_the_design_separates_them() -> None:
    claims: dict[str, Claims] = {}
    for seed in range(20):
        count_claims(simulated("greedy", SOME, 60, seed), SOME, claims)
    assert claims["n_layers"].difference >= 19 and claims["hidden_size"].difference >= 17


def test_many_numbers_become_ranges_of_equal_size() -> None:
    found = binned("learning_rate", trials(80, 0, better_by(0.0)))
    counts = [list(found.level_of.values()).count(level) for level in range(len(found.labels))]
    assert found.ranges and len(counts) == 4 and min(counts) >= 19
    assert binned("n_layers", trials(80, 0, better_by(0.0))).labels == ("1", "2", "3")


def test_values_of_any_kind_are_levels() -> None:
    values = [[1, "a"], None, True, "True", 0.5, 10, 2, {"max_norm": 5}]
    records = [TrialRecord(i, State.COMPLETE, {"x": value}) for i, value in enumerate(values)]
    assert binned("x", records).labels[:3] == ("0.5", "2", "10")


def report_data(records: list[TrialRecord]) -> ReportData:
    return ReportData("study", parse_metric("MRR@10"), SPACE, records, {}, {})


def test_importance_ranks_parameters() -> None:
    found = importance(known_report_data(60))
    assert found is not None and found.trials == 36
    assert next(iter(found.shares)) == "learning_rate"
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert importance(known_report_data(60)) == found


def test_importance_needs_enough_different_scores() -> None:
    assert importance(report_data(trials(LEAST_TRIALS - 1, 0, better_by(0.004)))) is None
    assert importance(report_data(trials(LEAST_TRIALS, 0, better_by(0.004)))) is not None
    same = [TrialRecord(i, State.COMPLETE, {"n_layers": i % 3 + 1}, score=0.1) for i in range(20)]
    assert importance(report_data(same)) is None


def test_pareto_front_is_not_dominated() -> None:
    rng = random.Random(0)
    records = [
        TrialRecord(i, State.COMPLETE, {}, score=rng.randint(0, 9) / 10, seconds=rng.randint(1, 9))
        for i in range(60)
    ]
    front = pareto(records, lambda record: record.seconds, maximize=True)
    for record in front:
        assert not any(
            (o.score or 0) >= (record.score or 0)
            and o.seconds <= record.seconds
            and ((o.score or 0) > (record.score or 0) or o.seconds < record.seconds)
            for o in records
        )
    costs = [record.seconds for record in front]
    assert costs == sorted(set(costs)) and front[-1].score == max(r.score or 0 for r in records)


def test_budget_shares_add_up() -> None:
    states = [State.COMPLETE, State.PRUNED, State.PRUNED, State.FAILED, State.RUNNING]
    shares = budget([TrialRecord(i, s, {}, epochs=i, seconds=10.0) for i, s in enumerate(states)])
    assert [(share.state, share.trials, share.epochs) for share in shares] == [
        (State.COMPLETE, 1, 0),
        (State.PRUNED, 2, 3),
        (State.FAILED, 1, 3),
    ]
    assert sum(share.part for share in shares) == pytest.approx(1.0)
    assert [share.part for share in budget([TrialRecord(0, State.FAILED, {})])] == [0.0]


def test_no_main_effects_without_completed_trials() -> None:
    failed = [TrialRecord(n, State.FAILED, {"n_layers": n, "n_heads": 2 - n}) for n in (1, 2)]
    assert main_effects(failed, ["n_layers", "n_heads"], METRIC) == []
