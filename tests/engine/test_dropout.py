"""Dropout masks: their rates, their independence, and what they depend on."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sasrecf_tune.engine.fast.dropout import (
    AttentionMasks,
    DropoutRates,
    Heads,
    HiddenMasks,
    StepMasks,
    TrialStep,
)

CPU = torch.device("cpu")


def step_masks(
    p: float | Sequence[float],
    seed: int = 7,
    step: int = 1,
    layers: int = 1,
    hidden: int = 64,
    longest: int = 50,
) -> StepMasks:
    """The masks of one trial, or of several with the seeds `seed`, `seed` + 1, ..."""
    rates = [p] if isinstance(p, float) else p
    trials = [TrialStep(seed + n, step + n, DropoutRates(rate, rate)) for n, rate in enumerate(rates)]
    return StepMasks(trials, layers, hidden, longest, CPU)


def hidden_of(masks: StepMasks, rows: Tensor, length: int) -> HiddenMasks:
    return masks.draw(rows, length, [])[0]


def attention_of(
    masks: StepMasks, rows: Tensor, length: int, heads: int, first: int = 0, end: int = 1
) -> AttentionMasks:
    return masks.draw(rows, length, [Heads(first, end, heads)])[1][0]


def embedding_mask(samples: int, masks: StepMasks, length: int = 50) -> Tensor:
    found = hidden_of(masks, torch.arange(samples), length).embedding
    assert found is not None
    return found


@pytest.mark.parametrize("p", [0.5, 0.25, 0.2, 0.1, 0.3333, 0.9, 1 / 512])
def test_elements_are_dropped_with_the_exact_probability(p: float) -> None:
    # 4 million elements; a rate of a multiple of 1/256 would be far off.
    keep = embedding_mask(1250, step_masks(p))
    assert keep.shape == (1250, 50, 64) and keep.dtype == torch.float32
    assert bool(((keep == 0) | (keep == 1)).all())
    count = keep.numel()
    assert abs(count - float(keep.double().sum()) - p * count) <= 4 * math.sqrt(count * p * (1 - p))


def test_the_probability_is_not_rounded_to_1_256th() -> None:
    keep = embedding_mask(4000, step_masks(0.2))
    count, p = keep.numel(), 0.2
    deviation = math.sqrt(count * p * (1 - p))
    assert (
        abs(count - float(keep.double().sum()) - p * count)
        < 4 * deviation
        < abs(count * 51 / 256 - p * count)
    )


def test_rates_of_zero_and_one() -> None:
    assert hidden_of(step_masks(0.0), torch.arange(3), 5).embedding is None
    assert attention_of(step_masks(0.0, layers=2), torch.arange(3), 5, 2) == [None, None]
    both = embedding_mask(6, step_masks([0.0, 1.0])).view(2, -1)
    assert both[0].all() and not both[1].any()
    assert not embedding_mask(6, step_masks(1.0)).any()


def flat(masks: StepMasks, samples: int = 200, length: int = 20, trials: int = 1) -> list[Tensor]:
    """All masks of a group, in one order of elements each."""
    rows = torch.arange(samples)
    hidden, (attention,) = masks.draw(rows, length, [Heads(0, trials, 2)])
    found = [hidden.embedding, *itertools.chain(*hidden.layers), *attention]
    return [mask.reshape(-1) for mask in found if mask is not None]


def correlation(one: Tensor, other: Tensor) -> float:
    """The correlation of two masks in standard deviations of that of independent ones."""
    count = min(len(one), len(other))
    a, b = (mask[:count].double() - mask[:count].double().mean() for mask in (one, other))
    return float((a * b).mean() / (a.std() * b.std())) * math.sqrt(count)


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_elements_are_independent(p: float) -> None:
    masks = flat(step_masks(p, layers=2))
    for mask in masks:
        for lag in (1, 2, 3, 4, 8, 64, 640, 1280):
            assert abs(correlation(mask[lag:], mask)) < 5
    # Layers and kinds, other steps, other seeds; and what a single number in place of both would confuse.
    others = [
        step_masks(p, layers=2, **other) for other in ({"step": 2}, {"seed": 8}, {"seed": 2, "step": 6})
    ]
    everything = [*masks, *itertools.chain(*map(flat, others))]
    for one, other in itertools.combinations(everything, 2):
        assert abs(correlation(one, other)) < 5


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**32),
    step=st.integers(0, 2**40),
    p=st.sampled_from([0.5, 0.3]),
    sizes=st.tuples(st.integers(1, 3), st.sampled_from([1, 6, 8]), st.integers(1, 9)),
    heads=st.sampled_from([1, 2]),
    length=st.integers(1, 9),
    some=st.lists(st.integers(0, 11), min_size=1, unique=True),
)
def test_masks_depend_neither_on_groups_nor_on_other_trials(
    seed: int, step: int, p: float, sizes: tuple[int, int, int], heads: int, length: int, some: list[int]
) -> None:
    layers, hidden, longest = sizes
    length = min(length, longest)
    each = [(p, seed, step), (0.25, seed + 1, step + 1)]
    fused = step_masks([0.5, p, 0.25], seed - 1, step - 1, layers, hidden, longest)
    rows = torch.tensor(some)
    of_fused, (_, of_pair) = fused.draw(rows.repeat(3), length, [Heads(0, 1, 3), Heads(1, 3, heads)])
    for number, (rate, own_seed, own_step) in enumerate(each, 1):
        alone = step_masks(rate, own_seed, own_step, layers, hidden, longest)
        whole = hidden_of(alone, torch.arange(12), longest)
        attended = attention_of(alone, torch.arange(12), longest, heads)

        def check(
            found: Tensor | None, expected: Tensor | None, positions: bool, number: int = number
        ) -> None:
            assert found is not None and expected is not None
            own = found.view(3, len(some), *found.shape[1:])[number]
            assert torch.equal(own, expected[rows][:, :length] if positions else expected[rows])

        check(of_fused.embedding, whole.embedding, positions=True)
        for layer, (pair, expected) in enumerate(zip(of_fused.layers, whole.layers, strict=True)):
            for ours, theirs in zip(pair, expected, strict=True):
                check(ours, theirs, positions=layer < layers - 1)
        for ours, theirs in zip(of_pair[:-1], attended[:-1], strict=True):
            assert ours is not None and theirs is not None
            own = ours.view(heads, 2, len(some), length, length)[:, number - 1]
            assert torch.equal(own, theirs[:, rows][..., :length, :length])
        ours, theirs = of_pair[-1], attended[-1]
        assert ours is not None and theirs is not None
        assert torch.equal(ours.view(2, len(some), heads, length)[number - 1], theirs[rows][..., :length])


def test_masks_are_the_same_on_every_stack() -> None:
    found = hashlib.sha256()
    for mask in flat(step_masks([0.5, 0.3], layers=2), 8, 5, 2):
        found.update(mask.to(torch.uint8).numpy().tobytes())
    assert found.hexdigest()[:16] == "384d86c92a071d62"
