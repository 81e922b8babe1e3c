"""A batch as groups of samples of similar length, so that hardly any work is done on padding."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True)
class Budget:
    """What a group may hold, and what it costs to have one more.

    `elements` bounds the largest activation of a group: samples x longest x the larger of `inner` (the
    feed-forward width) and `heads` x longest (attention weights). `overhead` is the time a group costs
    beside its positions (samples x longest), counted in positions.
    """

    elements: int
    overhead: int
    inner: int = 1
    heads: int = 0

    def samples(self, longest: int) -> int:
        """How many samples of this length a group may hold."""
        return max(1, self.elements // (longest * max(self.inner, self.heads * longest)))


def budget_for(device: torch.device, inner: int, heads: int) -> Budget:
    """The budget of a model on `device`.

    On a CPU a group's activations should stay in the caches of the cores at work, 4 MiB each; the
    gradients of the groups are summed, which is exact, so a group is also all whose activations are in
    memory at a time. On a GPU few large kernels are best.
    """
    if device.type == "cuda":
        return Budget(1 << 28, 20_000, inner, heads)
    return Budget((1 << 20) * torch.get_num_threads(), 500, inner, heads)


@dataclass(frozen=True)
class Group:
    """Samples `rows` [B] of a batch and their windows: `start` [B], `length` [B], `longest` the width."""

    rows: torch.Tensor
    start: torch.Tensor
    length: torch.Tensor
    longest: int

    def items(self, flat: torch.Tensor) -> torch.Tensor:
        """The histories from `flat` [interactions], padded on the right with item 0: [B, longest]."""
        offset = torch.arange(self.longest, device=flat.device)
        inside = offset < self.length[:, None]
        return flat[(self.start[:, None] + offset) * inside] * inside


def make_groups(
    start: torch.Tensor, length: torch.Tensor, budget: Budget, device: torch.device
) -> list[Group]:
    """Groups that cover the samples with windows `start` [B] and `length` [B], longest first.

    Raises:
        ValueError: there is no sample.
    """
    order = torch.argsort(length, descending=True, stable=True)
    ordered = length[order]
    cuts = cut(ordered.numpy(force=True), budget)
    rows, start, lengths = (sent(column, device) for column in (order, start[order], ordered))
    return [Group(rows[low:high], start[low:high], lengths[low:high], longest) for low, high, longest in cuts]


def sent(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`values` on `device`; the host does not wait until a GPU has done what it was told before."""
    return values.to(device, non_blocking=True)


def cut(lengths: NDArray[np.int64], budget: Budget) -> list[tuple[int, int, int]]:
    """(first, past the last, longest) of each group of descending `lengths` [B].

    The cuts between lengths minimise positions plus the overhead of groups (dynamic programming over
    the distinct lengths); a group beyond what the budget allows is then cut into even parts.
    """
    if len(lengths) == 0:
        raise ValueError("a batch without samples")
    changes = np.flatnonzero(lengths[1:] != lengths[:-1]) + 1
    bounds = np.concatenate(([0], changes, [len(lengths)]))
    longest = lengths[bounds[:-1]]
    # best[j]: least cost of the samples before bounds[j]; taken[j]: where the last of its groups begins.
    best = np.zeros(len(bounds))
    taken = np.zeros(len(bounds), dtype=np.int64)
    for j in range(1, len(bounds)):
        cost = best[:j] + (bounds[j] - bounds[:j]) * longest[:j] + budget.overhead
        taken[j] = np.argmin(cost)
        best[j] = cost[taken[j]]
    found: list[tuple[int, int, int]] = []
    j = len(bounds) - 1
    while j > 0:
        i = int(taken[j])
        found.extend(_parts(int(bounds[i]), int(bounds[j]), int(longest[i]), budget.samples(int(longest[i]))))
        j = i
    return sorted(found)


def _parts(low: int, high: int, longest: int, most: int) -> list[tuple[int, int, int]]:
    count = -(-(high - low) // most)
    edges = np.linspace(low, high, count + 1).round().astype(int).tolist()
    return [(a, b, longest) for a, b in itertools.pairwise(edges)]
