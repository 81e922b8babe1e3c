"""Draws all dropout masks of a group in one Triton kernel, with the bits of mask_blocks.py.

Imported on CUDA devices alone: torch brings Triton there, and nowhere else.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from sasrecf_tune.engine.fast.length_groups import to_device
from sasrecf_tune.engine.fast.mask_blocks import FACTORS, SHIFTS, Block, Rates, draw_with_torch, rates_on

# Words that one program hashes.
_WORDS = 256

_SHIFT_1, _SHIFT_2, _SHIFT_3 = (tl.constexpr(shift) for shift in SHIFTS)
_FACTOR_1, _FACTOR_2 = (tl.constexpr(factor) for factor in FACTORS)
# Numbers of a block in the kernel's table.
_COLUMNS = tl.constexpr(13)


@triton.jit  # type: ignore[untyped-decorator]
def _hash(x: tl.tensor, within: tl.tensor) -> tl.tensor:
    x = x ^ (x >> _SHIFT_1)
    x = x * _FACTOR_1 + within
    x = x ^ (x >> _SHIFT_2)
    x = x * _FACTOR_2
    return x ^ (x >> _SHIFT_3)


@triton.jit  # type: ignore[untyped-decorator]
def _unsigned(pointer: tl.tensor, offset: tl.tensor, mask: tl.tensor) -> tl.tensor:
    return tl.load(pointer + offset, mask=mask, other=0).to(tl.uint32, bitcast=True)


@triton.jit  # type: ignore[untyped-decorator]
def mask_kernel(
    out: tl.tensor,
    table: tl.tensor,
    rows: tl.tensor,
    keys: tl.tensor,
    units: tl.tensor,
    trials: tl.tensor,
    fine: tl.constexpr,
    size: tl.constexpr,
) -> None:
    """Write the masks of blocks.

    Args:
        out: Where to, one block after another, float32.
        table: A row of `_table` for each block, int64; the second axis of programs.
        rows: As in `mask_blocks.Draw`, and so are `keys`.
        units: Probabilities in units of 1/65536, int32, [kinds, trials].
        trials: Number of trials.
        fine: Whether a second hash refines the first.
        size: Words that a program hashes.
    """
    block = table + tl.program_id(1) * _COLUMNS
    count = tl.load(block).to(tl.int32)
    low = tl.program_id(0) * size
    if low < count:
        kind = tl.load(block + 1).to(tl.int32)
        first = tl.load(block + 2).to(tl.int32)
        samples = tl.load(block + 3).to(tl.int32)  # of a trial
        of_block = tl.load(block + 4).to(tl.int32)  # of all its trials
        lines = tl.load(block + 5).to(tl.int32)
        width = tl.load(block + 6).to(tl.int32)
        words = tl.load(block + 7).to(tl.int32)
        per_sample = tl.load(block + 8).to(tl.int32)
        start = tl.load(block + 9).to(tl.int32)
        outer_stride = tl.load(block + 10).to(tl.int32)
        line_stride = tl.load(block + 11).to(tl.int32)
        target = tl.load(block + 12)

        number = low + tl.arange(0, size)
        inside = number < count
        above = number // words  # the number of the line
        word = number - above * words
        samples_above = above // lines
        line = above - samples_above * lines
        outer = samples_above // of_block
        row = samples_above - outer * of_block
        trial = first + row // samples
        place = tl.load(rows + first * samples + row, mask=inside, other=0)
        counter = place * per_sample + start + outer * outer_stride + line * line_stride + word
        counter = counter.to(tl.uint32, bitcast=True)

        key = kind * 4 * trials + trial  # [kind, level, key, trial]
        unit = tl.load(units + kind * trials + trial, mask=inside, other=0)
        drawn = _hash(counter + _unsigned(keys, key, inside), _unsigned(keys, key + trials, inside))
        byte = tl.arange(0, 4)[None, :]
        value = ((drawn[:, None] >> (8 * byte).to(tl.uint32)) & 255) * 256
        if fine:
            key += 2 * trials
            drawn = _hash(counter + _unsigned(keys, key, inside), _unsigned(keys, key + trials, inside))
            value += (drawn[:, None] >> (8 * byte).to(tl.uint32)) & 255
        keep = (value.to(tl.int32) >= unit[:, None]).to(tl.float32)
        element = word[:, None] * 4 + byte
        offset = target + above.to(tl.int64)[:, None] * width + element
        tl.store(out + offset, keep, mask=inside[:, None] & (element < width))


def draw_with_triton(blocks: Sequence[Block], rows: Tensor, keys: Tensor, rates: Rates) -> list[Tensor]:
    """Draw masks in one kernel; see `mask_blocks.Draw`."""
    trials = keys.shape[-1]
    samples = len(rows) // trials
    shapes = [block.shape(samples) for block in blocks]
    sizes = [math.prod(shape) for shape in shapes]
    out = torch.empty(sum(sizes), dtype=torch.float32, device=rows.device)
    counts = [math.prod(shape[:3]) * block.words for block, shape in zip(blocks, shapes, strict=True)]
    table = _table(tuple(blocks), samples, rows.device)
    fine = any(rates.are_fine(block.kind) for block in blocks)
    grid = triton.cdiv(max(counts), _WORDS), len(blocks)
    mask_kernel[grid](out, table, rows, keys, rates.on_device, trials, fine=fine, size=_WORDS)
    return [part.view(shape) for part, shape in zip(torch.split(out, sizes), shapes, strict=True)]


def check_kernel(device: torch.device) -> None:
    """Compare some masks with those of torch.

    Raises:
        RuntimeError: They differ.
    """
    blocks = [Block(0, 0, 2, 2, 3, 8, 30, 0, 10, 2), Block(1, 1, 2, 2, 3, 5, 18, 0, 6, 2)]
    rows = torch.arange(600, dtype=torch.int32, device=device)
    keys = torch.arange(16, dtype=torch.int32).view(2, 2, 2, 2).mul_(0x1234567).to(device)
    for units in (1 << 15, 1 << 14), (1 << 15, 12_345):
        rates = rates_on((units, units), device)
        ours = draw_with_triton(blocks, rows, keys, rates)
        theirs = draw_with_torch(blocks, rows, keys, rates)
        if not all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True)):
            raise RuntimeError("the kernel's masks are not those of torch")


@lru_cache(maxsize=1024)
def _table(blocks: tuple[Block, ...], samples: int, device: torch.device) -> Tensor:
    """Return what the kernel reads of each block, [blocks, columns]."""
    shapes = [block.shape(samples) for block in blocks]
    starts = itertools.accumulate((math.prod(shape) for shape in shapes), initial=0)
    table = [
        (
            *(math.prod(shape[:3]) * block.words, block.kind, block.first, samples, shape[1]),
            *(block.lines, block.width, block.words, block.per_sample),
            *(block.start, block.outer_stride, block.line_stride, start),
        )
        for block, shape, start in zip(blocks, shapes, starts, strict=False)
    ]
    return to_device(torch.tensor(table, dtype=torch.int64), device)
