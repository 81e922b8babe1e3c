"""Splits a batch into groups of samples of similar length, so that there is little padding."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True)
class Budget:
    """Limits and costs of groups.

    Attributes:
        elements: Bound of the largest activation of a group: samples x longest x the larger of `inner` and
            `heads` x longest.
        overhead: Time of one more group, in positions (samples x longest).
        inner: Width of the feed-forward network.
        heads: Number of attention heads.
    """

    elements: int
    overhead: int
    inner: int = 1
    heads: int = 0

    def samples(self, longest: int) -> int:
        """Return how many samples of this length a group may have."""
        return max(1, self.elements // (longest * max(self.inner, self.heads * longest)))


def budget_for(device: torch.device, layers: int, hidden: int, inner: int, heads: int) -> Budget:
    """Return the budget of a model on `device`.

    The last layer has one query a sample, so that only others have a feed-forward network and scores for each
    position. A group costs about the same for each layer, and a position much more for each but the last.

    On a CPU a group's activations should fit in the caches of the cores, 4 MiB each. Gradients of groups are
    summed, which is exact, so only one group's activations are in memory. A GPU needs large kernels.
    """
    width, per_position = (hidden, 0) if layers == 1 else (inner, heads)
    if device.type == "cuda":
        return Budget(1 << 28, 20_000, width, per_position)
    return Budget((1 << 20) * torch.get_num_threads(), 1000 // layers, width, per_position)


@dataclass(frozen=True)
class Group:
    """Samples of a batch.

    Attributes:
        rows: Their indices in the batch, [samples].
        start: The starts of their histories, [samples].
        length: The lengths of their histories, [samples].
        longest: The width that histories are padded to.
        part: Their indices in the batch by descending length.
    """

    rows: torch.Tensor
    start: torch.Tensor
    length: torch.Tensor
    longest: int
    part: slice

    def items(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the histories in `flat`, padded on the right with item 0, [samples, longest]."""
        offset = numbers(self.longest, flat.device)
        inside = offset < self.length[:, None]
        return flat[(self.start[:, None] + offset) * inside] * inside


@lru_cache(maxsize=1024)
def numbers(count: int, device: torch.device) -> torch.Tensor:
    """Return the numbers below `count`, which are made once."""
    return torch.arange(count, device=device)


def make_groups(
    start: torch.Tensor, length: torch.Tensor, budget: Budget, device: torch.device
) -> list[Group]:
    """Split samples with histories `start` and `length`, both [batch], into groups, longest first.

    Raises:
        ValueError: There is no sample.
    """
    order = torch.argsort(length, descending=True, stable=True)
    ordered = length[order]
    cuts = group_bounds(ordered.numpy(force=True), budget)
    rows, start, lengths = (to_device(column, device) for column in (order, start[order], ordered))
    return [
        Group(rows[part], start[part], lengths[part], longest, part)
        for part, longest in ((slice(low, high), longest) for low, high, longest in cuts)
    ]


def to_device(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy `values` to `device` without waiting for the work that a GPU has queued."""
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()  # other memory is copied only after the GPU's queue
    return values.to(device, non_blocking=True)


def group_bounds(lengths: NDArray[np.int64], budget: Budget) -> list[tuple[int, int, int]]:
    """Return (first sample, end, longest) of each group of samples with descending `lengths`, [batch].

    The bounds minimise positions plus the overhead of groups, by dynamic programming over the distinct
    lengths. A group that exceeds the budget is then split evenly.
    """
    if len(lengths) == 0:
        raise ValueError("a batch without samples")
    changes = np.flatnonzero(lengths[1:] != lengths[:-1]) + 1
    bounds = np.concatenate(([0], changes, [len(lengths)]))
    longest = lengths[bounds[:-1]]
    # best[j]: the least cost of the samples before bounds[j]; taken[j]: the start of their last group.
    best = np.zeros(len(bounds))
    taken = np.zeros(len(bounds), dtype=np.int64)
    for j in range(1, len(bounds)):
        cost = best[:j] + (bounds[j] - bounds[:j]) * longest[:j] + budget.overhead
        taken[j] = np.argmin(cost)
        best[j] = cost[taken[j]]
    groups: list[tuple[int, int, int]] = []
    j = len(bounds) - 1
    while j > 0:
        i = int(taken[j])
        width = int(longest[i])
        groups.extend(_split_evenly(int(bounds[i]), int(bounds[j]), width, budget.samples(width)))
        j = i
    return sorted(groups)


def _split_evenly(low: int, high: int, longest: int, most: int) -> list[tuple[int, int, int]]:
    count = -(-(high - low) // most)
    edges = np.linspace(low, high, count + 1).round().astype(int).tolist()
    return [(a, b, longest) for a, b in itertools.pairwise(edges)]
