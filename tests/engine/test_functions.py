"""Operations with backward passes of their own, against torch's."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sasrecf_tune.engine.fast.functions import (
    _by_head,
    _join_heads,
    add_kept_,
    causal_attention,
    kept_,
    last_attention,
    take_rows,
    with_last,
)


def leaf(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def mask(*shape: int) -> Tensor:
    return torch.randint(0, 2, shape).double()


def check(found: Tensor, expected: Tensor, leaves: list[Tensor]) -> None:
    """The same values and gradients; `expected` first, because what is found may overwrite masks."""
    torch.testing.assert_close(found, expected)
    weight = torch.randn_like(expected)
    ours = torch.autograd.grad((found * weight).sum(), leaves)
    for one, other in zip(ours, torch.autograd.grad((expected * weight).sum(), leaves), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_causal_attention(heads: int, drop: bool) -> None:
    torch.manual_seed(0)
    projected = leaf(3, 5, 24)
    keep = mask(heads, 3, 5, 5) if drop else None
    query, key, value = projected.view(3, 5, 3, heads, 8 // heads).permute(2, 3, 0, 1, 4)
    future = torch.full((5, 5), -math.inf, dtype=torch.float64).triu(1)
    weights = torch.softmax(query @ key.mT + future, -1)
    expected = (
        ((weights if keep is None else weights * keep.clone()) @ value).permute(1, 2, 0, 3).reshape(3, 5, 8)
    )
    check(causal_attention(projected, heads, keep), expected, [projected])


@pytest.mark.parametrize("drop", [False, True])
def test_last_attention(drop: bool) -> None:
    torch.manual_seed(0)
    inputs, length = leaf(3, 5, 8), torch.tensor([5, 1, 3])
    last_of = inputs[torch.arange(3), length - 1]
    keep = mask(3, 2, 5) if drop else None
    padding = torch.arange(5) >= length[:, None]

    def queries(last: Tensor) -> Tensor:
        return torch.stack([last, last * 2], 1)

    scores = (queries(last_of) @ inputs.mT).masked_fill(padding[:, None], -math.inf)
    weights = torch.softmax(scores, -1)
    weights = weights if keep is None else weights * keep.clone()
    expected = torch.cat(
        [weights @ inputs, weights.sum(-1, keepdim=True), last_of[:, None].expand(3, 2, 8)], -1
    )
    x, last = with_last(inputs, length)
    mixed, total = last_attention(queries(last), x, length, keep)
    check(torch.cat([mixed, total, last[:, None].expand(3, 2, 8)], -1), expected, [inputs])


def test_rows_of_a_table() -> None:
    torch.manual_seed(0)
    table, places = leaf(5, 3), torch.tensor([[0, 4, 4], [2, 0, 4]])
    check(take_rows(table, places), table[places], [table])


@pytest.mark.parametrize("drop", [False, True])
def test_what_is_kept(drop: bool) -> None:
    torch.manual_seed(0)
    x, y = leaf(4, 3), leaf(4, 3)
    keep, also = (mask(4, 3), mask(4, 3)) if drop else (None, None)
    ones = torch.ones(4, 3, dtype=torch.float64)
    expected = (x + y * (ones if keep is None else keep.clone())) * (ones if also is None else also.clone())
    check(kept_(add_kept_(x, y * 1, keep), also), expected, [x, y])


@pytest.mark.parametrize("heads", [1, 2])
def test_heads_are_split_on_a_gpu_as_on_a_cpu(heads: int) -> None:
    x = torch.randn(3, 5, 24)
    here, joined = _by_head(x, heads, 3), torch.empty(3, 5, 24)
    there = _by_head(x.to("meta"), heads, 3)
    assert there.shape == (3, 1, heads * 3, 5, 8 // heads) and here.shape == (3, heads, 3, 5, 8 // heads)
    for part in range(3):
        # What a GPU has in one product.
        _join_heads(joined, part, heads, [here[part].reshape(heads * 3, 5, 8 // heads)])
    assert torch.equal(joined, x)
