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

from sasrecf_tune.engine.attention import Rates
from sasrecf_tune.engine.dropout import kept
from sasrecf_tune.engine.groups import Budget, cut
from sasrecf_tune.random_streams import Streams


@dataclass(frozen=True)
class Sizes:
    """What the shapes of masks depend on, beside samples and positions."""

    layers: int
    heads: int
    hidden: int


@dataclass(frozen=True)
class _Kind:
    """One mask of each group. `axes` after the samples: L positions, h heads, H hidden size."""

    axes: str
    attention: bool = False

    def shape(self, samples: int, longest: int, sizes: Sizes) -> torch.Size:
        extent = {"L": longest, "h": sizes.heads, "H": sizes.hidden}
        return torch.Size([samples, *(extent[axis] for axis in self.axes)])


def _kinds(layers: int) -> list[_Kind]:
    """In the order in which attention.py draws: after the embedding, then three of each layer."""
    whole = [_Kind("hLL", attention=True), _Kind("LH"), _Kind("LH")]
    last = [_Kind("hL", attention=True), _Kind("H"), _Kind("H")]
    return [_Kind("LH"), *whole * (layers - 1), *last]


@dataclass(frozen=True)
class _Drawn:
    """A trial's own group, its samples `low` to `high` by length, and its masks."""

    low: int
    high: int
    longest: int
    masks: list[Tensor | None]


class StepMasks:
    """The masks of one training step.

    `lengths` [N, B] are each trial's, descending; `budget` is what cuts a trial's batch alone.
    """

    def __init__(
        self,
        streams: Sequence[Streams],
        rates: Sequence[Rates],
        lengths: NDArray[np.int64],
        budget: Budget,
        sizes: Sizes,
        device: torch.device,
    ) -> None:
        self._streams, self._rates = streams, rates
        self._sizes, self._device = sizes, device
        self._kinds = _kinds(sizes.layers)
        self._left: list[Iterator[tuple[int, int, int]]] = [
            iter(cut(own, budget) if rate.hidden > 0 or rate.attention > 0 else ())
            for own, rate in zip(lengths, rates, strict=True)
        ]
        self._drawn: list[deque[_Drawn]] = [deque() for _ in rates]

    def group(self, low: int, high: int, longest: int) -> list[Tensor | None]:
        """Masks [N, samples, ...] of the samples `low` to `high` by length, asked for in this order."""
        found: list[Tensor | None] = []
        for kind in self._kinds:
            shape = kind.shape(high - low, longest, self._sizes)
            trials = range(len(self._rates))
            if all(self._rate(trial, kind) == 0 for trial in trials):
                found.append(None)
            else:
                # Beyond a sample's own length it does not matter what is kept: nothing sees it.
                found.append(torch.ones(len(trials), *shape, dtype=torch.bool, device=self._device))
        for trial, drawn in enumerate(self._drawn):
            self._draw_up_to(trial, high)
            for own in drawn:
                self._copy(own, found, trial, (low, high, longest))
            while drawn and drawn[0].high <= high:
                drawn.popleft()
        return found

    def _rate(self, trial: int, kind: _Kind) -> float:
        rates = self._rates[trial]
        return rates.attention if kind.attention else rates.hidden

    def _draw_up_to(self, trial: int, high: int) -> None:
        drawn = self._drawn[trial]
        while not drawn or drawn[-1].high < high:
            own = next(self._left[trial], None)
            if own is None:
                return
            first, past, longest = own
            with self._streams[trial].torch_mine():
                masks = [
                    kept(kind.shape(past - first, longest, self._sizes), rate, self._device)
                    if (rate := self._rate(trial, kind)) > 0
                    else None
                    for kind in self._kinds
                ]
            drawn.append(_Drawn(first, past, longest, masks))

    def _copy(self, own: _Drawn, found: list[Tensor | None], trial: int, group: tuple[int, int, int]) -> None:
        low, high, longest = group
        first, past, positions = max(low, own.low), min(high, own.high), min(longest, own.longest)
        for kind, mask, into in zip(self._kinds, own.masks, found, strict=True):
            if mask is None or into is None or first >= past:
                continue
            inner = [slice(positions) if axis == "L" else slice(None) for axis in kind.axes]
            into[(trial, slice(first - low, past - low), *inner)] = mask[
                (slice(first - own.low, past - own.low), *inner)
            ]
