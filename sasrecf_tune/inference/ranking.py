"""The best items of each user."""

from __future__ import annotations

import torch
from torch import Tensor

# torch.topk reads a row many times; the maximum of a block of items is read once. Below this number of items
# that does not pay.
_BLOCKS_FROM = 8192
_BLOCK = 64


def top_items(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` largest scores of each row, best first, and their columns; scores is [users, items].

    The largest scores are in the `count` blocks of columns with the largest maxima.
    """
    users, items = scores.shape
    blocks = items // _BLOCK
    if items < _BLOCKS_FROM or blocks <= count or scores.device.type != "cpu":
        return torch.topk(scores, min(count, items))
    whole = scores[:, : blocks * _BLOCK].view(users, blocks, _BLOCK)
    chosen = torch.topk(whole.amax(-1), count, sorted=False).indices
    columns = (chosen[:, :, None] * _BLOCK + torch.arange(_BLOCK)).flatten(1)
    rest = torch.arange(blocks * _BLOCK, items).expand(users, -1)
    columns = torch.cat([columns, rest], dim=1)
    best, places = torch.topk(scores.gather(1, columns), count)
    return best, columns.gather(1, places)


def leave_out(scores: Tensor, lengths: Tensor, items: Tensor) -> None:
    """Set the scores, [users, all items], of the users' own `items` to -inf; `lengths` are per user."""
    rows = torch.repeat_interleave(torch.arange(len(lengths), device=scores.device), lengths)
    scores[rows, items.long()] = -torch.inf
