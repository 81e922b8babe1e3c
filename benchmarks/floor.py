"""The machine's floor: the matrix products that a training step cannot do without, and nothing else."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Batch:
    """What the work of a training step depends on, counted in one batch.

    `lengths` are the histories' lengths, `distinct` the different items in them.
    """

    lengths: tuple[int, ...]
    distinct: int


@dataclass(frozen=True)
class Sizes:
    """What the work depends on besides the batch; `inputs` is an item's own vector and its features'."""

    hidden: int
    inner: int
    heads: int
    layers: int
    inputs: int
    items: int


@dataclass(frozen=True)
class Product:
    """`times` forward products of [batch, rows, inner] with [batch, inner, columns]."""

    name: str
    batch: int
    rows: int
    inner: int
    columns: int
    times: int = 1

    @property
    def flops(self) -> int:
        """Forward and backward: the gradient of each factor is a product of the same size again."""
        return 3 * 2 * self.times * self.batch * self.rows * self.inner * self.columns


def products(batch: Batch, sizes: Sizes) -> list[Product]:
    """The matrix products of one training step of SASRecF with the CE loss.

    With B samples of lengths l, P = sum of l, S = sum of l^2, U distinct items, N items, H hidden,
    I inner, h heads, d = H / h, c vectors an item, forward flops are 2 times

        items' input projection    U cH H
        each layer but the last    P (H 3H + H H + H I + I H)    query, key, value, output, feed-forward
                                   S (H + H)                     scores and mixing, future included
        the last layer             B (H H + H H)                 query, carried into the inputs' space
                                   P (hH + hH)                   scores and mixing
                                   B (H H + H H + H I + I H)     values, output, feed-forward
        logits                     B H N

    The last layer has the one query a sample that the loss reads. Forward and backward are three
    times that. Attention's many small products are merged into one, with as many samples of the length
    S / P as give the same flops: one after another they would time a GPU's launches, not its arithmetic.
    """
    count, positions = len(batch.lengths), sum(batch.lengths)
    length = max(1, round(sum(n * n for n in batch.lengths) / positions))
    merged = max(1, round(positions / length))
    h, inner, heads = sizes.hidden, sizes.inner, sizes.heads
    d, full = h // heads, sizes.layers - 1
    each = [
        Product("query, key, value", 1, positions, h, 3 * h, full),
        Product("scores", merged * heads, length, d, length, full),
        Product("mixing", merged * heads, length, length, d, full),
        Product("output", 1, positions, h, h, full),
        Product("feed-forward in", 1, positions, h, inner, full),
        Product("feed-forward out", 1, positions, inner, h, full),
    ]
    return [
        Product("input projection", 1, batch.distinct, sizes.inputs * h, h),
        *(each if full else []),
        Product("last query", 1, count, h, h),
        Product("last query carried", heads, count, d, h),
        Product("last scores", merged, heads, h, length),
        Product("last mixing", merged, heads, length, h),
        Product("last values", heads, count, h, d),
        Product("last output", 1, count, h, h),
        Product("last feed-forward in", 1, count, h, inner),
        Product("last feed-forward out", 1, count, inner, h),
        Product("logits", 1, count, h, sizes.items),
    ]


def seconds(listed: list[Product], device: str) -> float:
    """Time of all products of `listed`, forward and backward, once they have run before."""
    import torch

    def scratch(elements: int) -> torch.Tensor:
        return torch.randn(elements, device=device)

    # All products share their memory, so that the floor needs little of it.
    left = scratch(max(p.batch * p.rows * p.inner for p in listed))
    right = scratch(max(p.batch * p.inner * p.columns for p in listed))
    out = scratch(max(p.batch * p.rows * p.columns for p in listed))
    grad_left, grad_right = torch.empty_like(left), torch.empty_like(right)

    def view(flat: torch.Tensor, *shape: int) -> torch.Tensor:
        size = shape[0] * shape[1] * shape[2]
        # A matrix product alone is what nn.Linear runs; a batch of one may take another path.
        return flat[:size].view(shape[1:] if shape[0] == 1 else shape)

    def run() -> None:
        for p in listed:
            a = view(left, p.batch, p.rows, p.inner)
            b = view(right, p.batch, p.inner, p.columns)
            c = view(out, p.batch, p.rows, p.columns)
            for _ in range(p.times):
                torch.matmul(a, b, out=c)
                torch.matmul(c, b.mT, out=view(grad_left, p.batch, p.rows, p.inner))
                torch.matmul(a.mT, c, out=view(grad_right, p.batch, p.inner, p.columns))

    def wait() -> None:
        if device != "cpu":
            torch.cuda.synchronize()

    run()  # pays for the memory
    wait()
    started = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - started
