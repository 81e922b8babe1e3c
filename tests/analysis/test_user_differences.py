"""The test of users in pairs and the groups of users, on made-up scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from sasrecf_tune.analysis.user_differences import (
    LEAST_USERS,
    bootstrap,
    user_difference,
    user_differences,
    user_groups,
)
from sasrecf_tune.analysis.user_scores import UserScores, groups_of

KEY = "mrr@10"


def scores(values: NDArray[Any], users: list[str] | None = None, **columns: Any) -> UserScores:
    names = [f"u{number}" for number in range(len(values))] if users is None else users
    given = {"user": names, "item": [f"i{number % 9}" for number in range(len(values))]}
    numbers = {"history": np.arange(len(values)), "popularity": 1, "rank": 1, KEY: values}
    return UserScores(KEY, {"test": pd.DataFrame(given | numbers | columns)}, {"test": 1})


def test_the_interval_is_that_of_the_bootstrap() -> None:
    draw = np.random.default_rng(4)
    for values in (draw.random(100) - 0.4, draw.choice([-0.5, 0.0, 1 / 3, 1.0], 300)):
        expected = stats.bootstrap((values,), np.mean, n_resamples=9999, method="percentile", rng=draw)
        found = bootstrap(values, np.ones(len(values)), 0.05)
        width = expected.confidence_interval.high - expected.confidence_interval.low
        assert found == pytest.approx(tuple(expected.confidence_interval), abs=0.05 * width)
        assert found == bootstrap(values, np.ones(len(values)), 0.05)
        assert bootstrap(values, np.ones(len(values)), 0.001)[0] < found[0]
    assert bootstrap(np.zeros(5), np.ones(5), 0.05) == (0, 0)


def test_the_interval_of_very_many_pairs_does_not_end_with_the_draws() -> None:
    values, alpha = np.random.default_rng(2).normal(size=2000), 0.05 / 19900
    low, high = bootstrap(values, np.ones(2000), alpha)
    expected = stats.norm.isf(alpha / 2) * values.std() / np.sqrt(2000)
    assert high - values.mean() == pytest.approx(expected, rel=0.05)
    assert values.mean() - low == pytest.approx(expected, rel=0.05)


def test_the_interval_of_equal_models_holds_zero() -> None:
    draw = np.random.default_rng(1)
    gaps = [
        draw.choice([0.0, 0.0, 0.3, 1.0], 120) - draw.choice([0.0, 0.0, 0.3, 1.0], 120) for _ in range(80)
    ]
    low, high = zip(*(bootstrap(gap, np.ones(120), 0.05) for gap in gaps), strict=True)
    assert 0.88 <= np.mean((np.array(low) <= 0) & (np.array(high) >= 0)) <= 0.99


def test_the_better_of_a_pair_is_first_and_rows_are_paired_by_user() -> None:
    values = np.random.default_rng(2).random(60) / 2
    users = [f"u{number}" for number in range(60)]
    better = scores(values[::-1] + 0.1, users[::-1])
    found = user_difference(("a", scores(values)), ("b", better), "test")
    assert found is not None and not found.tied
    assert (found.first, found.second, found.users) == ("b", "a", 60)
    assert (found.better, found.worse) == (60, 0)
    assert (found.mean, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
    few = user_difference(("a", scores(values[:9])), ("b", scores(values[:9] + 0.1)), "test")
    assert few is not None and few.users < LEAST_USERS and few.tied
    assert user_difference(("a", scores(values)), ("b", scores(values[1:])), "test") is None
    assert user_difference(("a", scores(values)), ("b", better), "valid") is None


def test_a_user_with_several_items_is_drawn_as_one() -> None:
    gaps = np.repeat(np.random.default_rng(3).normal(size=40), 5)
    users = [f"u{number // 5}" for number in range(200)]
    found = user_difference(("a", scores(0.5 + gaps, users)), ("b", scores(np.full(200, 0.5), users)), "test")
    assert found is not None and found.users == 40
    single = bootstrap(np.abs(gaps.mean()) / gaps.mean() * gaps, np.ones(200), 0.05)
    assert found.high - found.low > 1.5 * (single[1] - single[0])


def test_intervals_of_several_pairs_are_wider() -> None:
    draw = np.random.default_rng(5)
    named = {name: scores(draw.random(100)) for name in "abc"}
    (alone,) = user_differences({name: named[name] for name in "ab"})["test"]
    (same, *others) = user_differences(named)["test"]
    assert {same.first, same.second} == {"a", "b"} and len(others) == 2
    assert same.high - same.low > 1.1 * (alone.high - alone.low)


def test_groups_show_where_a_model_is_better() -> None:
    values, popular = np.full(200, 0.3), np.arange(200) % 4 + 1
    better = values + np.where(np.arange(200) < 100, 0.2, -0.1)
    found = user_groups({"a": scores(better, popularity=popular), "b": scores(values, popularity=popular)})
    by_history = [each for each in found if each.by == "history"]
    assert [each.label for each in by_history] == ["0 to 49", "50 to 99", "100 to 149", "150 to 199"]
    assert [round(each.mean, 6) for each in by_history] == [0.2, 0.2, -0.1, -0.1]
    assert [each.users for each in by_history] == [50] * 4 and not any(each.tied for each in by_history)
    assert [each.label for each in found if each.by == "popularity"] == ["1", "2", "3", "4"]
    groups = groups_of(scores(better, popularity=popular))["test"]
    assert [(each.label, each.count) for each in groups[:2]] == [("0 to 49", 50), ("50 to 99", 50)]
    assert sum(each.count * each.score for each in groups[:4]) == pytest.approx(better.sum())
    # Held-out items that differ, as those of sampled candidates may, have no common popularity.
    other = scores(values, popularity=popular, item=[f"i{number % 7}" for number in range(200)])
    assert {each.by for each in user_groups({"a": scores(better), "b": other})} == {"history"}
