"""Fit the constants of the default search: python -m benchmarks.search.fit_curve_constants --help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from benchmarks.common import start
from benchmarks.search.curve_table import Table, read_table
from sasrecf_tune.search.strategies.curve_constants import CurveConstants, Lengths
from sasrecf_tune.search.strategies.curve_embedding import Embedding

# The epochs of each curve that are fitted, and the last.
_EPOCHS = (1, 3, 8)
_STEPS = 150
# Logarithms that the search begins at, and to which a weak prior ties it.
_FIRST = {
    "common": -1.0, "common_length": -0.5, "level": -1.7, "shape": -2.2, "shape_length": -1.2, "run": -4.0,
    "wander": -3.5, "wander_length": -1.0, "noise": -3.5,
}  # fmt: skip
_FIRST_LENGTHS = {"learning_rate": (0.9, 0.3), "hidden_dropout_prob": (0.0, -0.7), "": (1.5, 1.0)}
_PRIOR_DEVIATION = 2.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def fit(tables: list[Table], draws: int = 2) -> CurveConstants:
    """Return the constants of greatest likelihood, one set for all tables, each in its own scale."""
    torch.set_num_threads(1)
    first = dict(_FIRST)
    for name, (level, shape) in _FIRST_LENGTHS.items():
        first |= {f"{name} level": level, f"{name} shape": shape}
    values = {
        key: torch.tensor(value, dtype=torch.float64, requires_grad=True) for key, value in first.items()
    }
    data = [[_curves(table.with_drawn_seeds(1000 + draw)) for table in tables] for draw in range(draws)]
    optimizer = torch.optim.Adam(list(values.values()), lr=0.08)
    for step in range(_STEPS):
        optimizer.zero_grad()
        losses = [_negative_log_likelihood(values, *one) for one in data[step % draws]]
        prior = sum(((values[key] - first[key]) / _PRIOR_DEVIATION) ** 2 / 2 for key in values)
        (torch.stack(losses).sum() + prior).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    fitted = {key: round(value.exp().item(), 4) for key, value in values.items()}
    lengths = {name: Lengths(fitted[f"{name} level"], fitted[f"{name} shape"]) for name in _FIRST_LENGTHS}
    other = lengths.pop("")
    return CurveConstants(**{key: fitted[key] for key in _FIRST}, lengths=lengths, other=other)


Curves = tuple[list[str], Tensor, Tensor, Tensor, Tensor]


def _curves(table: Table) -> Curves:
    """The names of coordinates, and of each observation: coordinates, time, run and score."""
    embedding = Embedding(table.space)
    points = embedding.embed(table.cells)
    best = np.maximum.accumulate(table.valid[:, 0], axis=1)
    rows = []
    for cell, length in enumerate(table.lengths[:, 0]):
        for epoch in (*_EPOCHS, table.epochs):
            rows.append((cell, epoch, best[cell, min(epoch, length) - 1]))
    cells, epochs, scores = (np.array(column) for column in zip(*rows, strict=True))
    times = np.log1p(epochs) / np.log1p(table.epochs)
    units = scores / np.percentile(scores, 99)
    return (
        embedding.names,
        torch.tensor(points[cells]),
        torch.tensor(times),
        torch.tensor(cells),
        torch.tensor(units),
    )


def _negative_log_likelihood(
    values: dict[str, Tensor], names: list[str], x: Tensor, t: Tensor, run: Tensor, y: Tensor
) -> Tensor:
    v = {key: value.exp() for key, value in values.items()}
    apart = (t[:, None] - t[None]).abs()
    known = [name if name in _FIRST_LENGTHS else "" for name in names]
    level, shape = (torch.stack([v[f"{name} {part}"] for name in known]) for part in ("level", "shape"))
    covariance = v["common"] ** 2 * _matern(apart / v["common_length"])
    covariance = covariance + v["level"] ** 2 * _matern(_distances(x / level))
    over_time = _matern(apart / v["shape_length"])
    covariance = covariance + v["shape"] ** 2 * _matern(_distances(x / shape)) * over_time
    of_run = v["run"] ** 2 + v["wander"] ** 2 * _matern(apart / v["wander_length"])
    covariance = covariance + (run[:, None] == run[None]) * of_run
    covariance = covariance + (v["noise"] ** 2 + 1e-6) * torch.eye(len(y), dtype=torch.float64)
    factor = torch.linalg.cholesky(covariance)
    one = torch.ones_like(y)
    solved = torch.cholesky_solve(torch.stack([y, one], 1), factor)
    rest = y - (one @ solved[:, 0]) / (one @ solved[:, 1])
    fitted = rest @ torch.cholesky_solve(rest[:, None], factor)[:, 0]
    loss: Tensor = 0.5 * fitted + factor.diagonal().log().sum()
    return loss


def _distances(x: Tensor) -> Tensor:
    return ((x[:, None] - x[None]) ** 2).sum(-1).clamp(min=1e-12).sqrt()


def _matern(distance: Tensor) -> Tensor:
    scaled = 5**0.5 * distance
    return (1 + scaled + scaled * scaled / 3) * (-scaled).exp()


@app.command()
def main(paths: Annotated[list[Path], typer.Argument(metavar="TABLE.csv.gz ...")]) -> None:
    """Print the constants fitted to each table, and to all together."""
    tables = [read_table(path) for path in paths]
    for table in tables:
        print(f"{table.name}:\n{fit([table])}\n")
    print(f"all:\n{fit(tables)}")


if __name__ == "__main__":
    start(app)
