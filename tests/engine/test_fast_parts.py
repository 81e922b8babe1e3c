"""The parts of the fast engine by themselves."""

from __future__ import annotations

import itertools
import logging
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import recbole.data.dataset.dataset as recbole_dataset
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recbole.data.dataset import Dataset
from recbole.evaluator.collector import Collector
from torch.nn import functional

from sasrecf_tune.engine.fast import evaluation
from sasrecf_tune.engine.fast.dataset import (
    CompactDataset,
    compiled_parser,
    history_windows,
    is_regular,
    keeps_everything,
)
from sasrecf_tune.engine.fast.evaluation import RankedTargets
from sasrecf_tune.engine.fast.length_groups import Budget, group_bounds, make_groups
from sasrecf_tune.engine.fast.loss import cross_entropy_gradients, cross_entropy_sum
from sasrecf_tune.engine.recbole import make_config
from tests.support.synthetic_data import base, data, muted

__all__ = ["data", "muted"]

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=60)


@given(LENGTHS, st.integers(1, 300), st.integers(0, 30), st.integers(1, 9), st.integers(0, 3))
def test_groups_cover_each_sample_once_within_the_budget(
    lengths: list[int], elements: int, overhead: int, inner: int, heads: int
) -> None:
    length = torch.tensor(lengths)
    start = torch.arange(len(lengths)) * 10
    groups = make_groups(start, length, Budget(elements, overhead, inner, heads), torch.device("cpu"))
    assert sorted(row for group in groups for row in group.rows.tolist()) == list(range(len(lengths)))
    flat = torch.arange(1, 10 * len(lengths) + 1)
    for group in groups:
        assert torch.equal(group.length, length[group.rows]) and int(group.length.max()) <= group.longest
        largest = len(group.rows) * group.longest * max(inner, heads * group.longest)
        assert len(group.rows) == 1 or largest <= elements
        for row, items in zip(group.rows.tolist(), group.items(flat), strict=True):
            expected = flat[row * 10 : row * 10 + lengths[row]]
            assert torch.equal(items[: lengths[row]], expected) and not items[lengths[row] :].any()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(0, 30))
def test_group_bounds_have_the_least_cost(lengths: list[int], overhead: int) -> None:
    ordered = sorted(lengths, reverse=True)

    def cost(groups: Sequence[tuple[int, int]]) -> int:
        return sum((high - low) * ordered[low] + overhead for low, high in groups)

    cheapest = min(
        cost(list(itertools.pairwise([0, *inner, len(ordered)])))
        for count in range(len(ordered))
        for inner in itertools.combinations(range(1, len(ordered)), count)
    )
    found = group_bounds(np.array(ordered), Budget(elements=10**9, overhead=overhead))
    assert cost([(low, high) for low, high, _ in found]) == cheapest


def test_a_batch_without_samples_is_an_error() -> None:
    with pytest.raises(ValueError, match="without samples"):
        group_bounds(np.array([], dtype=np.int64), Budget(10, 1))


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(1, 6))
def test_windows_are_recboles(unsorted: list[int], longest: int) -> None:
    users = sorted(unsorted)
    # The loop of recbole/data/dataset/sequential_dataset.py, data_augmentation.
    expected, last, begin = [], None, 0
    for i, user in enumerate(users):
        if last != user:
            last, begin = user, i
        else:
            if i - begin > longest:
                begin += 1
            expected.append((begin, i))
    start, end = history_windows(np.array(users), longest)
    assert list(zip(start.tolist(), end.tolist(), strict=True)) == expected


@pytest.mark.parametrize(
    ("text", "regular"),
    [
        ("a\tb\n1\t2\n", True),
        ("a\tb\r\n1\t2\r\n", True),
        ("a\tb\n1\t2", True),
        ("a\tb\n1\t2\t\n", False),
        ("a\tb\n1\n", False),
        ('a\tb\n"1"\t2\n', False),
        ("a\tb\n1\x00\t2\n", False),
        ("a\tb\n1\r1\t2\n", False),
    ],
)
def test_only_regular_files_are_read_by_the_compiled_parser(tmp_path: Path, text: str, regular: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(text.encode())
    assert is_regular(path, "\t") is regular and not is_regular(path, "::")


WORDS = st.text("ab1_ .é'#", max_size=5)


@given(st.lists(st.tuples(WORDS, st.floats(allow_nan=False)), min_size=1, max_size=8))
def test_both_parsers_read_a_regular_file_alike(rows: list[tuple[str, float]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "file"
        path.write_text("a:token\tb:float\n" + "".join(f"{word}\t{number!r}\n" for word, number in rows))
        options: dict[str, Any] = {
            "delimiter": "\t",
            "dtype": {"a:token": str, "b:float": np.float64},
            "engine": "python",
        }
        assert is_regular(path, "\t")
        with compiled_parser():
            found = recbole_dataset.pd.read_csv(str(path), **options)
        pd.testing.assert_frame_equal(found, pd.read_csv(path, **options), check_exact=True)


BOUND = st.sampled_from(["-1", "0", "0.5", "1", "3", "inf"])
INTERVAL = st.tuples(st.sampled_from("[("), BOUND, BOUND, st.sampled_from("])")).map(
    lambda parts: "{}{},{}{}".format(*parts)
)


@given(st.none() | st.lists(INTERVAL, min_size=1, max_size=2).map(";".join))
@example("[0,inf)")  # RecBole's default
def test_intervals_that_keep_everything_are_recboles(text: str | None) -> None:
    made = object.__new__(Dataset)
    made.logger = logging.getLogger()
    intervals = made._parse_intervals_str(text)
    counts = [0, 1, 2, 3, 4, 10**9]
    whole = not intervals or all(made._within_intervals(count, intervals) for count in counts)
    if keeps_everything(intervals):
        assert whole
    elif intervals is not None and len(intervals) == 1:
        assert not whole or intervals[0][2] < math.inf or intervals[0][3] == "]"


def test_nothing_is_counted_where_nothing_can_be_filtered(data: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recbole_dataset, "Counter", None)
        CompactDataset(make_config(base(data)))


@given(st.lists(st.integers(0, 6), max_size=40), st.integers(1, 2))
def test_leave_one_out_is_recboles(users: list[int], parts: int) -> None:
    def split(kind: type[Dataset]) -> list[list[int]]:
        made = object.__new__(kind)
        groups = made._grouped_index(np.array(users))
        return [list(map(int, part)) for part in made._split_index_by_leave_one_out(groups, parts)]

    assert split(CompactDataset) == split(Dataset)


@settings(deadline=None)  # the first example waits for torch's thread pool
@given(st.integers(1, 9), st.integers(2, 12), st.integers(1, 10), st.integers(0, 1000))
def test_cross_entropy_in_chunks_is_torchs(samples: int, items: int, rows: int, seed: int) -> None:
    torch.manual_seed(seed)
    leaves = [torch.randn(n, 5, dtype=torch.float64, requires_grad=True) for n in (samples, items)]
    target = torch.randint(0, items, (samples,))
    expected = functional.cross_entropy(leaves[0] @ leaves[1].T, target, reduction="sum")
    grads = torch.autograd.grad(expected * 3, leaves)
    with patch("sasrecf_tune.engine.fast.loss.chunk_rows", lambda *_: rows):
        found = cross_entropy_sum(leaves[0], leaves[1], target)
        before = torch.randn(items, 5, dtype=torch.float64)
        added = before.clone()
        output, weights = (leaf.detach() for leaf in leaves)
        loss, gradient = cross_entropy_gradients(output, weights, added, target, 3.0)
        outputs, several, both, targets = (
            torch.stack([each] * 2) for each in (output, weights, before, target)
        )
        of_two = cross_entropy_gradients(outputs, several, both, targets, 3.0)
        with torch.no_grad():
            torch.testing.assert_close(cross_entropy_sum(leaves[0], leaves[1], target), expected)
    ours = torch.autograd.grad(found * 3, leaves)
    for value in (found, loss, *of_two[0]):
        torch.testing.assert_close(value, expected)
    for value in (ours[0], gradient, *of_two[1]):
        torch.testing.assert_close(value, grads[0])
    for value in (ours[1], added - before, *(both - before)):
        torch.testing.assert_close(value, grads[1])


def test_cross_entropy_of_scores_far_apart() -> None:
    # The softmax of the target is 0 in float32.
    output, items = torch.tensor([[1.0]]), torch.tensor([[300.0], [-300.0]])
    target = torch.tensor([1])
    loss, gradient = cross_entropy_gradients(output, items, torch.zeros_like(items), target)
    assert float(loss) == 600 and float(gradient) == 600


# Few distinct numbers, so that scores are equal, and some that are none. Their products are exact and do not
# overflow: otherwise matrix products of other shapes may differ.
NUMBERS = st.sampled_from([0.0, 1.0, -1.0, 2.0, 2.0**50, -(2.0**50), math.inf, math.nan])


@settings(deadline=None)
@given(st.data(), st.integers(4, 900), st.integers(1, 9), st.integers(1, 4), st.integers(1, 4))
def test_targets_are_placed_where_recboles_collector_places_them(
    data: st.DataObject, items: int, samples: int, users: int, most: int
) -> None:
    draw = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    few = torch.tensor(data.draw(st.lists(NUMBERS, min_size=1, max_size=5)))
    vectors, outputs = (few[torch.randint(len(few), (rows, 2), generator=draw)] for rows in (items, samples))
    target = torch.randint(1, items, (samples,), generator=draw)
    config = {
        "topk": [most],
        "metrics": ["MRR"],
        "device": torch.device("cpu"),
        "eval_args": {"mode": "full"},
    }
    stock, ranked = Collector(config), RankedTargets(config)
    scores = outputs @ vectors.T
    scores[:, 0] = -math.inf
    stock.eval_batch_collect(scores, None, torch.arange(samples), target)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "users_per_chunk", lambda *_: users)
        ranked.add(outputs, vectors, target)
    assert torch.equal(torch.cat(ranked._rows["rec.topk"]), stock.data_struct["rec.topk"])
