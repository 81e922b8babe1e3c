"""Chooses the items of a step whose inputs are computed, once for each item."""

from __future__ import annotations

import torch
from torch import Tensor

# If a step has at least this many positions per item, the inputs of all items are computed.
_FULL_CATALOGUE_RATIO = 8


def choose_items(
    items: list[Tensor], count: int, device: torch.device
) -> tuple[Tensor | None, Tensor | None]:
    """Choose the items whose inputs a step computes.

    These are all items if most of them occur anyway, otherwise those that occur. On a GPU they are always
    all: the host would have to wait for the GPU to know which occur.

    Returns:
        The chosen items, and the place of each item among them, [items]; None and None for all items.
    """
    positions = sum(part.numel() for part in items)
    if device.type != "cpu" or positions >= _FULL_CATALOGUE_RATIO * count:
        return None, None
    present = torch.zeros(count, dtype=torch.bool, device=device)
    for part in items:
        present[part.reshape(-1)] = True
    return present.nonzero().squeeze(-1), present.cumsum(0) - 1
