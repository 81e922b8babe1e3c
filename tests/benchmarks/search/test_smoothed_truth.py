"""The truth that replayed searches are judged by."""

from __future__ import annotations

import itertools

import numpy as np

from benchmarks.search.curve_table import Table
from benchmarks.search.smoothed_truth import smoothed_truth
from sasrecf_tune.inputs.literals import Scalar
from sasrecf_tune.inputs.params_file import parse

SPACE = """learning_rate choice [0.01, 0.005, 0.002, 0.001, 0.0005]
hidden_dropout_prob choice [0.1, 0.2, 0.3, 0.4, 0.5]
loss_type choice [CE, BPR]
"""


def test_the_truth_is_nearer_to_what_was_planted_than_the_means_are() -> None:
    space = parse(SPACE)
    rates, dropouts = (0.01, 0.005, 0.002, 0.001, 0.0005), (0.1, 0.2, 0.3, 0.4, 0.5)
    combinations = list(itertools.product(rates, dropouts, ("CE", "BPR")))
    cells: list[dict[str, Scalar]] = [dict(zip(space.names, values, strict=True)) for values in combinations]
    planted = np.array(
        [
            -((np.log10(rate) + 2.5) ** 2) - 2 * (dropout - 0.3) ** 2 - 0.3 * (loss == "BPR")
            for rate, dropout, loss in combinations
        ]
    )
    finals = planted[:, None] + np.random.default_rng(1).normal(0, 0.1, (len(cells), 3))
    curves = np.zeros((len(cells), 3, 1))
    table = Table("planted", {}, space, cells, [1, 2, 3], curves, curves, np.ones(len(cells)))
    truth = smoothed_truth(table, finals)
    error, error_of_means = (np.std(scores - planted) for scores in (truth.scores, finals.mean(axis=1)))
    assert error < 0.8 * error_of_means
    assert abs(truth.deviation - 0.1) < 0.03
    assert truth.regrets.min() == 0
