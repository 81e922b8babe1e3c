"""Dropout masks of several trials, each trial's as it would draw them alone.

What a trial draws depends on how its batch is cut into groups (groups.py), and several trials share groups
that none would have alone. So each trial's masks are drawn in the shapes and in the order that it has alone,
from its own generator, and then put together anew: what is dropped does not depend on who trains beside it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sasrecf_tune.engine.fast.attention import Rates
from sasrecf_tune.engine.fast.dropout import kept
from sasrecf_tune.engine.fast.length_groups import Budget, cut
from sasrecf_tune.engine.fused.layers import Run
from sasrecf_tune.engine.rng import TrialRng


@dataclass(frozen=True)
class _Kind:
    """One mask of each group. `axes` after the samples: L positions, h heads, H hidden size."""

    axes: str
    attention: bool = False

    def shape(self, samples: int, longest: int, heads: int, hidden: int) -> torch.Size:
        extent = {"L": longest, "h": heads, "H": hidden}
        return torch.Size([samples, *(extent[axis] for axis in self.axes)])


def _kinds(layers: int) -> list[_Kind]:
    """In the order in which attention.py draws: after the embedding, then three of each layer."""
    whole = [_Kind("hLL", attention=True), _Kind("LH"), _Kind("LH")]
    last = [_Kind("hL", attention=True), _Kind("H"), _Kind("H")]
    return [_Kind("LH"), *whole * (layers - 1), *last]


@dataclass(frozen=True)
class DropoutSpec:
    """A trial that drops: where its numbers come from, and what its masks depend on.

    `budget` is what cuts its batch when it is alone.
    """

    streams: TrialRng
    rates: Rates
    heads: int
    budget: Budget

    def rate(self, kind: _Kind) -> float:
        """The probability of being dropped."""
        return self.rates.attention if kind.attention else self.rates.hidden


@dataclass(frozen=True)
class _Drawn:
    """A trial's own group, its samples `low` to `high` by length, and its masks."""

    low: int
    high: int
    longest: int
    masks: list[Tensor | None]


# The masks of one kind: of all trials, or of each run for those of attention.
Blocks = list[Tensor | None]


class StepMasks:
    """The masks of one training step of `trials`.

    `lengths` [N, B] are each trial's, descending; in each of the `runs` masks have one shape.
    """

    def __init__(
        self,
        trials: Sequence[DropoutSpec],
        runs: Sequence[Run],
        lengths: NDArray[np.int64],
        layers: int,
        hidden: int,
        device: torch.device,
    ) -> None:
        self._trials, self._runs = trials, runs
        self._hidden, self._device = hidden, device
        self._kinds = _kinds(layers)
        self._left: list[Iterator[tuple[int, int, int]]] = [
            iter(cut(own, trial.budget) if trial.rates.hidden > 0 or trial.rates.attention > 0 else ())
            for own, trial in zip(lengths, trials, strict=True)
        ]
        self._drawn: list[deque[_Drawn]] = [deque() for _ in trials]

    def group(self, low: int, high: int, longest: int) -> list[Blocks]:
        """Masks [n, samples, ...] of the samples `low` to `high` by length, asked for in this order."""
        found = [self._blocks(kind, high - low, longest) for kind in self._kinds]
        for trial, drawn in enumerate(self._drawn):
            self._draw_up_to(trial, high)
            places = [
                self._place(kind, blocks, trial) for kind, blocks in zip(self._kinds, found, strict=True)
            ]
            for own in drawn:
                self._copy(own, places, (low, high, longest))
            while drawn and drawn[0].high <= high:
                drawn.popleft()
        return found

    def _blocks(self, kind: _Kind, samples: int, longest: int) -> Blocks:
        found: Blocks = []
        for run in self._runs if kind.attention else [Run(0, len(self._trials), 0)]:
            some = self._trials[run.first : run.past]
            if all(trial.rate(kind) == 0 for trial in some):
                found.append(None)
                continue
            shape = kind.shape(samples, longest, run.heads, self._hidden)
            # Beyond a sample's own length it does not matter what is kept: nothing sees it.
            found.append(torch.ones(len(some), *shape, dtype=torch.bool, device=self._device))
        return found

    def _place(self, kind: _Kind, blocks: Blocks, trial: int) -> Tensor | None:
        """Where a trial's mask goes."""
        if not kind.attention:
            return None if blocks[0] is None else blocks[0][trial]
        for run, block in zip(self._runs, blocks, strict=True):
            if run.first <= trial < run.past and block is not None:
                return block[trial - run.first]
        return None

    def _draw_up_to(self, number: int, high: int) -> None:
        drawn, trial = self._drawn[number], self._trials[number]
        while not drawn or drawn[-1].high < high:
            own = next(self._left[number], None)
            if own is None:
                return
            first, past, longest = own
            shapes = [kind.shape(past - first, longest, trial.heads, self._hidden) for kind in self._kinds]
            with trial.streams.torch_mine():
                masks = [
                    kept(shape, trial.rate(kind), self._device) if trial.rate(kind) > 0 else None
                    for kind, shape in zip(self._kinds, shapes, strict=True)
                ]
            drawn.append(_Drawn(first, past, longest, masks))

    def _copy(self, own: _Drawn, places: Blocks, group: tuple[int, int, int]) -> None:
        low, high, longest = group
        first, past, positions = max(low, own.low), min(high, own.high), min(longest, own.longest)
        for kind, mask, into in zip(self._kinds, own.masks, places, strict=True):
            if mask is None or into is None or first >= past:
                continue
            inner = [slice(positions) if axis == "L" else slice(None) for axis in kind.axes]
            into[(slice(first - low, past - low), *inner)] = mask[
                (slice(first - own.low, past - own.low), *inner)
            ]
