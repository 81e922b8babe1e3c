"""The lower bounds of a training step and of a validation: their matrix products and nothing else."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

# Numbers in one result of a validation's products: 4 MiB, which stay in a cache. All scores are too many.
_MOST = 1 << 20


@dataclass(frozen=True)
class BatchShape:
    """What the work of a training step depends on in a batch.

    `lengths` are the lengths of the histories, `distinct` the number of different items in them.
    """

    lengths: tuple[int, ...]
    distinct: int


@dataclass(frozen=True)
class ModelSizes:
    """What the work depends on besides the batch; `inputs` counts an item's own vector and its features."""

    hidden: int
    inner: int
    heads: int
    layers: int
    inputs: int
    items: int


@dataclass(frozen=True)
class MatrixProduct:
    """`times` forward products of [batch, rows, inner] with [batch, inner, columns]."""

    name: str
    batch: int
    rows: int
    inner: int
    columns: int
    times: int = 1

    @property
    def flops(self) -> int:
        """Forward and backward: the gradient of each factor is another product of the same size."""
        return 3 * 2 * self.times * self.batch * self.rows * self.inner * self.columns


def matrix_products(batch: BatchShape, sizes: ModelSizes) -> list[MatrixProduct]:
    """Return the matrix products of one training step of SASRecF with the CE loss.

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
    S / P as give the same flops: one after another they would time a GPU's kernel launches.
    """
    count, positions = len(batch.lengths), sum(batch.lengths)
    length = max(1, round(sum(n * n for n in batch.lengths) / positions))
    merged = max(1, round(positions / length))
    h, inner, heads = sizes.hidden, sizes.inner, sizes.heads
    d, full = h // heads, sizes.layers - 1
    each = [
        MatrixProduct("query, key, value", 1, positions, h, 3 * h, full),
        MatrixProduct("scores", merged * heads, length, d, length, full),
        MatrixProduct("mixing", merged * heads, length, length, d, full),
        MatrixProduct("output", 1, positions, h, h, full),
        MatrixProduct("feed-forward in", 1, positions, h, inner, full),
        MatrixProduct("feed-forward out", 1, positions, inner, h, full),
    ]
    return [
        MatrixProduct("input projection", 1, batch.distinct, sizes.inputs * h, h),
        *(each if full else []),
        MatrixProduct("last query", 1, count, h, h),
        MatrixProduct("last query carried", heads, count, d, h),
        MatrixProduct("last scores", merged, heads, h, length),
        MatrixProduct("last mixing", merged, heads, length, h),
        MatrixProduct("last values", heads, count, h, d),
        MatrixProduct("last output", 1, count, h, h),
        MatrixProduct("last feed-forward in", 1, count, h, inner),
        MatrixProduct("last feed-forward out", 1, count, inner, h),
        MatrixProduct("logits", 1, count, h, sizes.items),
    ]


def validation_products(samples: BatchShape, sizes: ModelSizes) -> list[MatrixProduct]:
    """Return the matrix products of one validation that ranks all items for `samples`.

    They are the forward products of `matrix_products`, one piece after another.
    """
    return [_in_pieces(product) for product in matrix_products(samples, sizes)]


def _in_pieces(product: MatrixProduct) -> MatrixProduct:
    size = max(product.rows, product.batch)
    most = max(1, _MOST * size // (product.batch * product.rows * product.columns))
    times = -(-size // most)
    piece = replace(product, times=product.times * times)
    length = max(1, round(size / times))
    return replace(piece, rows=length) if size == product.rows else replace(piece, batch=length)


def time_products(listed: list[MatrixProduct], device: str, backward: bool = True) -> float:
    """Return the seconds of all products of `listed`, after a first run."""
    import torch

    def scratch(elements: int) -> torch.Tensor:
        return torch.randn(elements, device=device)

    # All products share their memory, so that they need little.
    left = scratch(max(p.batch * p.rows * p.inner for p in listed))
    right = scratch(max(p.batch * p.inner * p.columns for p in listed))
    out = scratch(max(p.batch * p.rows * p.columns for p in listed))
    grad_left, grad_right = torch.empty_like(left), torch.empty_like(right)

    def view(flat: torch.Tensor, *shape: int) -> torch.Tensor:
        size = shape[0] * shape[1] * shape[2]
        # nn.Linear runs a plain matrix product; a batch of one may run another kernel.
        return flat[:size].view(shape[1:] if shape[0] == 1 else shape)

    def run() -> None:
        for p in listed:
            a = view(left, p.batch, p.rows, p.inner)
            b = view(right, p.batch, p.inner, p.columns)
            c = view(out, p.batch, p.rows, p.columns)
            for _ in range(p.times):
                torch.matmul(a, b, out=c)
                if not backward:
                    continue
                torch.matmul(c, b.mT, out=view(grad_left, p.batch, p.rows, p.inner))
                torch.matmul(a.mT, c, out=view(grad_right, p.batch, p.inner, p.columns))

    def wait() -> None:
        if device != "cpu":
            torch.cuda.synchronize()

    run()  # allocates the memory
    wait()
    started = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - started
