"""The expected rise of the best prediction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasrecf_tune.search.strategies.knowledge_gradient import knowledge_gradient


@given(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from([0.01, 1.0, 100.0]))
def test_it_is_the_integral_over_the_score_to_be_seen(seed: int, count: int, size: float) -> None:
    random = np.random.default_rng(seed)
    means, slopes = random.normal(size=count), size * random.normal(size=(3, count))
    z = np.linspace(-9, 9, 8_001)
    density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    for found, one in zip(knowledge_gradient(means, slopes), slopes, strict=True):
        largest = (means[:, None] + one[:, None] * z).max(axis=0)
        expected = float((largest * density).sum() * (z[1] - z[0]))
        assert found == pytest.approx(expected - means.max(), abs=1e-6 * max(size, 1))


def test_what_moves_all_predictions_alike_is_worth_nothing() -> None:
    assert knowledge_gradient(np.array([1.0, 2.0]), np.array([[3.0, 3.0]])) == pytest.approx([0.0])


def test_equal_predictions_and_slopes_do_no_harm() -> None:
    means, slopes = np.zeros(4), np.array([[0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert knowledge_gradient(means, slopes) == pytest.approx([1 / np.sqrt(2 * np.pi), 0.0])
