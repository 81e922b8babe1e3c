"""Draws dropout masks: a hash of the counter of each element, and what a rate makes of it.

A hash of 32 bits decides four elements, a byte each. If a rate is not a multiple of 1/256, a second hash
refines the bytes to 16 bits. All operations are on integers or exact, so that every device and version of
torch draws the same; mask_kernel.py does in one kernel what is here in a kernel for each operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sasrecf_tune.engine.fast.length_groups import to_device

# A byte of a word decides one element.
BYTES = 4
# The hash's constants: https://github.com/skeeto/hash-prospector.
SHIFTS = 16, 15, 15
FACTORS = 0x21F0AAAD, 0xD35A2D97
# Probabilities are multiples of 1 / UNITS.
UNITS = 1 << 16


def words_of(elements: int) -> int:
    """Return how many words decide so many elements."""
    return -(-elements // BYTES)


class Block(NamedTuple):
    """Masks of one shape, [outer, trials * samples, lines, width], whose elements have counters.

    Counters are of words. A line has adjacent ones, the first of which is
    sample * per_sample + start + outer * outer_stride + line * line_stride.

    Attributes:
        kind: 0 for hidden states, 1 for attention weights, which have other keys and rates.
        first: The first trial.
        end: The last trial plus 1.
        outer: Masks that the block has.
        lines: Lines of a sample.
        width: Elements of a line.
    """

    kind: int
    first: int
    end: int
    outer: int
    lines: int
    width: int
    per_sample: int
    start: int
    outer_stride: int
    line_stride: int

    @property
    def words(self) -> int:
        """Words of a line."""
        return words_of(self.width)

    def shape(self, samples: int) -> tuple[int, int, int, int]:
        """Return the shape of the masks for so many samples of each trial."""
        return self.outer, (self.end - self.first) * samples, self.lines, self.width


@dataclass(frozen=True)
class Rates:
    """What the trials of a step drop.

    Attributes:
        units: Probabilities in units of 1/65536, for each kind and trial.
        on_device: The same on the device of the masks, int32, [kinds, trials].
        bytes_on_device: The same in units of 1/256, float32.
    """

    units: tuple[tuple[int, ...], ...]
    on_device: Tensor
    bytes_on_device: Tensor

    def drop(self, kind: int, first: int, end: int) -> bool:
        """Return whether any of these trials drops anything of a kind."""
        return any(self.units[kind][first:end])

    def are_fine(self, kind: int) -> bool:
        """Return whether a second byte decides."""
        return any(unit % 256 for unit in self.units[kind])


# Returns the masks of each block, 1 for an element that is kept and 0 for others. Its other arguments are the
# place of each sample in its trial's batch, int32, [trials * samples]; keys of trials, int32,
# [kinds, levels, 2, trials]; and rates.
Draw = Callable[[Sequence[Block], Tensor, Tensor, Rates], list[Tensor]]


@lru_cache(maxsize=64)
def rates_on(units: tuple[tuple[int, ...], ...], device: torch.device) -> Rates:
    """Return rates with their copy on a device, which is made once."""
    whole = torch.tensor(units, dtype=torch.int32)
    return Rates(units, to_device(whole, device), to_device(whole / 256, device))


def draw_with_torch(blocks: Sequence[Block], rows: Tensor, keys: Tensor, rates: Rates) -> list[Tensor]:
    """Draw masks with operators of torch; see `Draw`."""
    rows = rows.view(keys.shape[-1], -1)
    first = [(block, 0) for block in blocks]
    parts = first + [(block, 1) for block in blocks if rates.are_fine(block.kind)]
    shapes = [block.shape(rows.shape[1]) for block, _ in parts]
    sizes = [math.prod(shape[:3]) * block.words for (block, _), shape in zip(parts, shapes, strict=True)]
    # All words are hashed at once, whatever they are for.
    hashed = torch.empty(sum(sizes), dtype=torch.int32, device=rows.device)
    bases: dict[tuple[int, int, int], Tensor] = {}
    words = torch.split(hashed, sizes)
    for (block, level), some in zip(parts, words, strict=True):
        key = block.kind, level, block.per_sample
        if key not in bases:
            before = keys[block.kind, level, 0, :, None]
            bases[key] = torch.add(before, rows, alpha=block.per_sample)
        base = bases[key][block.first : block.end].reshape(1, -1, 1)
        torch.add(base, _counters(block, rows.device), out=some.view(block.outer, base.shape[1], -1))
    shifted = torch.empty_like(hashed)
    _mix(hashed, shifted, SHIFTS[0])
    for (block, level), some in zip(parts, words, strict=True):
        within = keys[block.kind, level, 1, block.first : block.end, None]
        by_trial = some.view(block.outer, len(within), -1)
        torch.add(within, by_trial, alpha=FACTORS[0], out=by_trial)
    _mix(hashed, shifted, SHIFTS[1])
    hashed.mul_(FACTORS[1] - (1 << 32))
    _mix(hashed, shifted, SHIFTS[2])
    numbers = [
        each.view(torch.uint8).view(*shape[:3], -1)[..., : shape[3]]
        for each, shape in zip(words, shapes, strict=True)
    ]
    refining = iter(numbers[len(blocks) :])
    return [
        _decide(block, number, next(refining) if rates.are_fine(block.kind) else None, rates)
        for block, number in zip(blocks, numbers, strict=False)
    ]


def _decide(block: Block, number: Tensor, refining: Tensor | None, rates: Rates) -> Tensor:
    keep = torch.empty(number.shape, dtype=torch.float32, device=number.device)
    units = rates.units[block.kind]
    if refining is None and len(units) == 1:
        return torch.gt(number, units[0] // 256 - 1, out=keep)  # 256 is no byte
    keep.copy_(number)
    if refining is not None:
        keep.add_(refining, alpha=1 / 256)
    if len(units) == 1:
        return keep.ge_(units[0] / 256)
    levels = rates.bytes_on_device[block.kind, block.first : block.end, None]
    keep.view(block.outer, len(levels), -1).ge_(levels)
    return keep


@lru_cache(maxsize=1024)
def _counters(block: Block, device: torch.device) -> Tensor:
    """Return the counters of the words of a sample, [outer, 1, lines * words]."""
    outer, line, word = (np.arange(count) for count in (block.outer, block.lines, block.words))
    lines = outer[:, None, None] * block.outer_stride + line[:, None] * block.line_stride + word
    counters = (block.start + lines).astype(np.int32).reshape(block.outer, 1, -1)
    return to_device(torch.from_numpy(counters), device)


def _mix(x: Tensor, shifted: Tensor, shift: int) -> None:
    # torch shifts copies of the sign in.
    torch.bitwise_right_shift(x, shift, out=shifted)
    x.bitwise_xor_(shifted.bitwise_and_((1 << (32 - shift)) - 1))
