"""The Gaussian process over learning curves, compared with direct algebra."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.gaussian_process.kernels import Matern

from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.search.strategies.curve_constants import FITTED
from sasrecf_tune.search.strategies.curve_embedding import Embedding
from sasrecf_tune.search.strategies.curve_kernel import CurveKernel, Spots, matern
from sasrecf_tune.search.strategies.curve_process import CurveProcess

SPACE = parse("learning_rate log 1e-4,1e-1\nn_layers int 1,4\nloss_type choice ['CE','BPR']\n")
EMBEDDING = Embedding(SPACE)
CELLS = [
    {"learning_rate": rate, "n_layers": layers, "loss_type": loss}
    for rate in (1e-3, 1e-2)
    for layers in (1, 3)
    for loss in ("CE", "BPR")
]
TIMES = np.array([0.2, 0.5, 1.0])
seeds = st.integers(0, 10**6)


def drawn(seed: int, count: int) -> tuple[Spots, NDArray[np.float64]]:
    """Spots of different runs and epochs, and scores."""
    random = np.random.default_rng(seed)
    which = random.choice(len(CELLS) * 3, count, replace=False)
    return Spots(which // 3, which % 3, which // 3), random.normal(0.3, 0.1, count)


def kernel() -> CurveKernel:
    return CurveKernel(FITTED, EMBEDDING, EMBEDDING.embed(CELLS), TIMES)


def test_the_correlation_is_that_of_scikit_learn() -> None:
    distances = np.array([0.0, 0.3, 1.0, 4.0])
    expected = Matern(nu=2.5)(distances[:, None], np.zeros((1, 1)))[:, 0]
    assert matern(distances) == pytest.approx(expected)


@given(seeds, st.integers(2, 20))
def test_predictions_are_those_of_direct_algebra(seed: int, count: int) -> None:
    seen, scores = drawn(seed, count)
    process = CurveProcess(kernel(), seen, scores)
    finals = Spots(np.arange(8), np.full(8, 2), np.full(8, -1))
    noise = (FITTED.noise**2 + 1e-6) * np.eye(count)
    covariance = kernel().between(seen, seen) + kernel().of_runs(seen, seen) + noise
    centered = scores - np.median(scores)
    solved = np.linalg.solve(covariance, centered)
    scale = np.sqrt(centered @ solved / (count - 1))
    across = kernel().between(seen, finals)
    predicted = process.predict(finals)
    assert process.scale == pytest.approx(scale)
    assert process.to_scores(predicted.mean) == pytest.approx(np.median(scores) + across.T @ solved)
    assert process.mean(finals) == pytest.approx(predicted.mean)
    expected = kernel().between(finals, finals) - across.T @ np.linalg.solve(covariance, across)
    assert process.deviation(finals, predicted) ** 2 == pytest.approx(np.diag(expected), abs=1e-7)


@given(seeds)
def test_a_score_to_be_seen_moves_predictions_as_was_said(seed: int) -> None:
    """The prediction after a score that lies one standard deviation above its own prediction."""
    spots, scores = drawn(seed, 9)
    scores[:8] -= np.median(scores[:8])
    finals = Spots(np.arange(8), np.full(8, 2), np.full(8, -1))
    first = CurveProcess(kernel(), spots[:8], scores[:8])
    of_finals, of_next = first.predict(finals), first.predict_runs(spots[8:])
    moved = first.learned(finals, of_finals, spots[8:], of_next)[0]
    variance = kernel().variance(spots[8:]) + FITTED.seed_variance - (of_next.whitened**2).sum(axis=0)
    above = first.to_scores(of_next.mean + np.sqrt(variance))
    covariance = kernel().between(spots, spots) + kernel().of_runs(spots, spots)
    covariance += (FITTED.noise**2 + 1e-6) * np.eye(9)
    after = kernel().between(finals, spots) @ np.linalg.solve(covariance, [*scores[:8], *above])
    assert after == pytest.approx(first.to_scores(of_finals.mean + moved), abs=1e-4)


@given(seeds)
def test_scores_to_be_seen_together_settle_what_is_then_no_longer_uncertain(seed: int) -> None:
    spots, scores = drawn(seed, 12)
    spots = Spots(spots.cell, spots.time, np.arange(12))
    finals = Spots(np.arange(8), np.full(8, 2), np.full(8, -1))
    first = CurveProcess(kernel(), spots[:8], scores[:8])
    of_finals = first.predict(finals)
    moves = first.learned_together(finals, of_finals, spots[8:])
    after = CurveProcess(kernel(), spots, scores)
    left = after.deviation(finals, after.predict(finals)) ** 2
    settled = first.deviation(finals, of_finals) ** 2 - left
    assert (moves**2).sum(axis=1) == pytest.approx(settled, abs=1e-7)


@given(seeds)
def test_pending_scores_reduce_deviations_and_move_no_prediction(seed: int) -> None:
    spots, scores = drawn(seed, 12)
    finals = Spots(np.arange(8), np.full(8, 2), np.full(8, -1))
    without = CurveProcess(kernel(), spots[:8], scores[:8])
    pending = CurveProcess(kernel(), spots, scores[:8])
    before, after = without.predict(finals), pending.predict(finals)
    assert after.mean == pytest.approx(before.mean)
    assert (pending.deviation(finals, after) <= without.deviation(finals, before) + 1e-9).all()


@given(seeds, st.sampled_from([1e-9, 1.0, 1e12]), st.sampled_from([-5.0, 0.0, 5.0]))
def test_the_scale_and_the_location_of_scores_do_not_matter(seed: int, factor: float, shift: float) -> None:
    spots, scores = drawn(seed, 10)
    finals = Spots(np.arange(8), np.full(8, 2), np.full(8, -1))
    one = CurveProcess(kernel(), spots, scores).predict(finals).mean
    other = CurveProcess(kernel(), spots, factor * (scores + shift)).predict(finals).mean
    assert other == pytest.approx(one, abs=1e-4)


def test_values_without_an_order_are_equally_apart() -> None:
    space = parse("loss_type choice ['CE','BPR']\nhidden_act choice ['gelu','relu','tanh']\n")
    embedding = Embedding(space)
    points = embedding.embed([{"loss_type": "CE", "hidden_act": act} for act in ("gelu", "relu", "tanh")])
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    assert distances[np.triu_indices(3, 1)] == pytest.approx(1.0)


def test_epochs_and_seeds_are_no_coordinates() -> None:
    space = parse("epochs int 10,50,20\nseed choice [1,2]\nn_layers int 1,3\n")
    assert Embedding(space).names == ["n_layers"]
