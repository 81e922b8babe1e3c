"""Dropout masks by counter: each element is a function of the trial's seed, the step and its own place.

A mask is a hash of (seed, step, layer, kind, sample, position), so that a trial drops the same whatever it is
trained with, however its batch is split, and after an interruption. There is no stream of random numbers.

This module says which masks a step has and their counters. mask_blocks.py draws them, and on CUDA devices
mask_kernel.py. Masks are numbers, 0 or 1: torch multiplies by those much faster than by truth values.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sasrecf_tune.engine.fast.length_groups import to_device
from sasrecf_tune.engine.fast.mask_blocks import UNITS, Block, Draw, draw_with_torch, rates_on, words_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DropoutRates:
    """Dropout probabilities; both are 0 outside of training."""

    hidden: float
    attention: float


@dataclass(frozen=True)
class TrialStep:
    """What the masks of one step of a trial depend on, besides the sizes of its model."""

    seed: int
    step: int
    rates: DropoutRates


@dataclass(frozen=True)
class HiddenMasks:
    """What a group of samples keeps of its hidden states; None where nothing is dropped.

    Attributes:
        embedding: [samples, length, hidden].
        layers: After the attention and after the feed-forward network of each layer, each
            [samples, length, hidden]; in the last layer [samples, hidden].
    """

    embedding: Tensor | None
    layers: Sequence[tuple[Tensor | None, Tensor | None]]


# Of each layer what is kept of its attention weights, [heads, samples, length, length]; in the last layer
# [samples, heads, length].
AttentionMasks = Sequence[Tensor | None]


def keep_scale(p: float) -> float:
    """Return the factor 1 / (1 - p) that masks leave out; 0 for p = 1, as in torch."""
    return 1.0 / (1.0 - p) if p < 1 else 0.0


class StepMasks:
    """The masks of one training step of one or several trials, whose models have the same shapes.

    Args:
        trials: What each trial's masks depend on.
        layers: Number of layers.
        hidden: Hidden size.
        longest: The longest history that the models take.
        device: The device of the masks.
    """

    def __init__(
        self, trials: Sequence[TrialStep], layers: int, hidden: int, longest: int, device: torch.device
    ) -> None:
        self._sizes = layers, hidden, longest
        each = [trial.rates for trial in trials]
        kinds = [rates.hidden for rates in each], [rates.attention for rates in each]
        self._rates = rates_on(tuple(tuple(round(p * UNITS) for p in kind) for kind in kinds), device)
        self._draw = _draw_on_cuda(device) if device.type == "cuda" else draw_with_torch
        if any(map(any, self._rates.units)):
            keys = np.stack([_keys(trial.seed, trial.step) for trial in trials], axis=1)
            # [kind, level, key, trials]: hidden states or attention, first bytes or second
            self._keys = to_device(torch.from_numpy(keys.reshape(2, 2, 2, -1)), device)

    def draw(
        self, rows: Tensor, length: int, heads: Sequence[Heads]
    ) -> tuple[HiddenMasks, list[AttentionMasks]]:
        """Return the masks of a group of samples; of attention weights for each of `heads`.

        Args:
            rows: The samples' places in the batches of their trials, [trials * samples].
            length: Number of positions.
            heads: Trials with the same number of heads.
        """
        rates, layers = self._rates, self._sizes[0]
        attended = tuple(each for each in heads if rates.drop(1, each.first, each.end))
        trials = len(rates.units[0])
        blocks = _layout(*self._sizes, length, trials if rates.drop(0, 0, trials) else 0, attended)
        found = iter(self._draw(blocks, rows.to(torch.int32), self._keys, rates) if blocks else ())
        hidden = HiddenMasks(None, [(None, None)] * layers)
        if rates.drop(0, 0, trials):
            *each, one, two = *next(found), *next(found)[:, :, 0]
            hidden = HiddenMasks(each[0], [*zip(each[1::2], each[2::2], strict=True), (one, two)])
        attention: list[AttentionMasks] = []
        for group in heads:
            if group not in attended:
                attention.append([None] * layers)
                continue
            size = group.heads, -1, length, length
            before = next(found).view(layers - 1, *size) if layers > 1 else ()
            attention.append([*before, *next(found)])
        return hidden, attention


class Heads(NamedTuple):
    """Trials `first` to `end` - 1, which have so many `heads`."""

    first: int
    end: int
    heads: int


@lru_cache(maxsize=1024)
def _layout(
    layers: int, hidden: int, longest: int, length: int, trials: int, heads: tuple[Heads, ...]
) -> tuple[Block, ...]:
    """Return the blocks of masks for histories of `length`, of hidden states for so many `trials`.

    Counters do not depend on `length`.
    """
    blocks = []
    if trials:
        whole, words = 2 * layers - 1, words_of(hidden)
        state = longest * words
        end = whole * state
        # The last layer has one position.
        of_all = Block(0, 0, trials, whole, length, hidden, end + 2 * words, 0, state, words)
        blocks += [of_all, of_all._replace(outer=2, lines=1, start=end, outer_stride=words)]
    for first, end, count in heads:
        line, before = words_of(longest), (layers - 1) * count
        per_sample = (before * longest + count) * line
        if before:
            blocks.append(Block(1, first, end, before, length, length, per_sample, 0, longest * line, line))
        blocks.append(Block(1, first, end, 1, count, length, per_sample, before * longest * line, 0, line))
    return tuple(blocks)


@lru_cache(maxsize=64)
def _draw_on_cuda(device: torch.device) -> Draw:
    """Return the kernel if it can be had and draws the same as torch; otherwise note why not, once."""
    try:
        from sasrecf_tune.engine.fast.mask_kernel import check_kernel, draw_with_triton

        check_kernel(device)
    except Exception as error:  # noqa: BLE001  # a compiler can raise anything
        reason = str(error).partition("\n")[0]
        _log.warning("Dropout masks are drawn without Triton, in more kernels: %s", reason)
        return draw_with_torch
    return draw_with_triton


def _keys(seed: int, step: int) -> NDArray[np.int32]:
    digest = hashlib.blake2b(f"{seed} {step}".encode(), digest_size=32).digest()
    return np.frombuffer(digest, dtype="<i4").astype(np.int32)
