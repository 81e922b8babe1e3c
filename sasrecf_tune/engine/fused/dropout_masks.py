"""Dropout masks of several trials, each equal to what the trial draws when it trains alone.

A trial's masks depend on how its batch is split into groups (fast/length_groups.py), and fused trials share
other groups. So each trial's masks are drawn from its own generator in the shapes and in the order of its own
groups, and then copied to the shared ones. What is dropped does not depend on the other trials.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sasrecf_tune.engine.fast.attention import DropoutRates
from sasrecf_tune.engine.fast.dropout import draw_keep_mask
from sasrecf_tune.engine.fast.length_groups import Budget, group_bounds
from sasrecf_tune.engine.fused.layers import HeadGroup
from sasrecf_tune.engine.rng import TrialRng


@dataclass(frozen=True)
class _MaskKind:
    """A mask that each group has once; `axes` follow the samples: L length, h heads, H hidden."""

    axes: str
    attention: bool = False

    def shape(self, samples: int, longest: int, heads: int, hidden: int) -> torch.Size:
        extent = {"L": longest, "h": heads, "H": hidden}
        return torch.Size([samples, *(extent[axis] for axis in self.axes)])


def _mask_kinds(layers: int) -> list[_MaskKind]:
    """Return the kinds in the order of fast/attention.py: after the embedding, then three per layer."""
    whole = [_MaskKind("hLL", attention=True), _MaskKind("LH"), _MaskKind("LH")]
    last = [_MaskKind("hL", attention=True), _MaskKind("H"), _MaskKind("H")]
    return [_MaskKind("LH"), *whole * (layers - 1), *last]


@dataclass(frozen=True)
class DropoutSpec:
    """What a trial's masks depend on; `budget` splits its batch when it trains alone."""

    rng: TrialRng
    rates: DropoutRates
    heads: int
    budget: Budget

    @property
    def drops(self) -> bool:
        """Whether anything is dropped."""
        return self.rates.hidden > 0 or self.rates.attention > 0

    def rate(self, kind: _MaskKind) -> float:
        """Return the probability of dropping an element."""
        return self.rates.attention if kind.attention else self.rates.hidden


@dataclass(frozen=True)
class _DrawnGroup:
    """A trial's own group of samples `low` to `high` by length, and its masks."""

    low: int
    high: int
    longest: int
    masks: list[Tensor | None]


# The masks of one kind: one for all trials, or for attention one per head group.
MaskBlocks = list[Tensor | None]


class StepMasks:
    """The masks of one training step.

    Args:
        trials: What each trial's masks depend on.
        head_groups: The trials with the same number of heads.
        lengths: The descending lengths of each trial's samples, [trials, batch].
        layers: Number of layers.
        hidden: Hidden size.
        device: The device of the masks.
    """

    def __init__(
        self,
        trials: Sequence[DropoutSpec],
        head_groups: Sequence[HeadGroup],
        lengths: NDArray[np.int64],
        layers: int,
        hidden: int,
        device: torch.device,
    ) -> None:
        self._trials, self._head_groups = trials, head_groups
        self._hidden, self._device = hidden, device
        self._kinds = _mask_kinds(layers)
        self._remaining: list[Iterator[tuple[int, int, int]]] = [
            iter(group_bounds(own, trial.budget) if trial.drops else ())
            for own, trial in zip(lengths, trials, strict=True)
        ]
        self._drawn: list[deque[_DrawnGroup]] = [deque() for _ in trials]

    def group(self, low: int, high: int, longest: int) -> list[MaskBlocks]:
        """Return the masks of samples `low` to `high` by length; call it in this order."""
        masks = [self._blocks(kind, high - low, longest) for kind in self._kinds]
        for trial, drawn in enumerate(self._drawn):
            self._draw_up_to(trial, high)
            views = [self._view(kind, blocks, trial) for kind, blocks in zip(self._kinds, masks, strict=True)]
            for own in drawn:
                self._copy(own, views, (low, high, longest))
            while drawn and drawn[0].high <= high:
                drawn.popleft()
        return masks

    def _blocks(self, kind: _MaskKind, samples: int, longest: int) -> MaskBlocks:
        blocks: MaskBlocks = []
        for group in self._head_groups if kind.attention else [HeadGroup(0, len(self._trials), 0)]:
            some = self._trials[group.first : group.end]
            if all(trial.rate(kind) == 0 for trial in some):
                blocks.append(None)
                continue
            shape = kind.shape(samples, longest, group.heads, self._hidden)
            # Positions beyond a sample's length may have any value, because nothing attends to them.
            blocks.append(torch.ones(len(some), *shape, dtype=torch.bool, device=self._device))
        return blocks

    def _view(self, kind: _MaskKind, blocks: MaskBlocks, trial: int) -> Tensor | None:
        """Return the part of the masks that belongs to a trial."""
        if not kind.attention:
            return None if blocks[0] is None else blocks[0][trial]
        for group, block in zip(self._head_groups, blocks, strict=True):
            if group.first <= trial < group.end and block is not None:
                return block[trial - group.first]
        return None

    def _draw_up_to(self, number: int, high: int) -> None:
        drawn, trial = self._drawn[number], self._trials[number]
        while not drawn or drawn[-1].high < high:
            own = next(self._remaining[number], None)
            if own is None:
                return
            first, end, longest = own
            shapes = [kind.shape(end - first, longest, trial.heads, self._hidden) for kind in self._kinds]
            with trial.rng.torch_active():
                masks = [
                    draw_keep_mask(shape, trial.rate(kind), self._device) if trial.rate(kind) > 0 else None
                    for kind, shape in zip(self._kinds, shapes, strict=True)
                ]
            drawn.append(_DrawnGroup(first, end, longest, masks))

    def _copy(self, own: _DrawnGroup, views: MaskBlocks, group: tuple[int, int, int]) -> None:
        low, high, longest = group
        first, end, positions = max(low, own.low), min(high, own.high), min(longest, own.longest)
        for kind, mask, view in zip(self._kinds, own.masks, views, strict=True):
            if mask is None or view is None or first >= end:
                continue
            inner = [slice(positions) if axis == "L" else slice(None) for axis in kind.axes]
            view[(slice(first - low, end - low), *inner)] = mask[
                (slice(first - own.low, end - own.low), *inner)
            ]
