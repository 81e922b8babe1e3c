"""A table of recorded learning curves, and where RecBole's early stopping would end each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sasrecf_tune.errors import InputError
from sasrecf_tune.inputs.literals import Scalar
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.search_space import SearchSpace

METRIC = "mrr@10"
# RecBole's default (recbole/properties/overall.yaml).
STOPPING_STEP = 10
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Table:
    """The curves of all cells of a space, or of points of an infinite one.

    `valid` and `test` have shape [cells, seeds, epochs]. They are NaN after the end of a curve, and `test` is
    where RecBole would not keep the weights. `epoch_seconds` [cells] is the time of an epoch, the median of
    the seeds; 1 in a table without times.
    """

    name: str
    about: dict[str, Any]
    space: SearchSpace
    cells: list[dict[str, Scalar]]  # labels
    seeds: list[int]
    valid: Floats
    test: Floats
    epoch_seconds: Floats

    @property
    def epochs(self) -> int:
        """Number of recorded epochs of each curve."""
        return int(self.valid.shape[2])

    @cached_property
    def _stops(self) -> Integers:
        return np.array([[early_stop(curve[~np.isnan(curve)])[:2] for curve in cell] for cell in self.valid])

    @property
    def lengths(self) -> Integers:
        """[cells, seeds]: epochs until RecBole's early stopping, or all."""
        return self._stops[:, :, 0]

    @property
    def best(self) -> Integers:
        """[cells, seeds]: index of the epoch whose weights RecBole keeps."""
        return self._stops[:, :, 1]

    @cached_property
    def final(self) -> tuple[Floats, Floats]:
        """[cells, seeds] each: valid and test metric of the kept weights."""
        index = self.best[:, :, None]
        return (
            np.take_along_axis(self.valid, index, 2)[:, :, 0],
            np.take_along_axis(self.test, index, 2)[:, :, 0],
        )

    def with_drawn_seeds(self, seed: int) -> Table:
        """Return the same curves with each cell's seeds in a random order of its own."""
        draw = np.random.default_rng(seed)
        order = draw.permuted(np.tile(np.arange(len(self.seeds)), (len(self.cells), 1)), axis=1)[:, :, None]
        valid, test = (np.take_along_axis(curves, order, 1) for curves in (self.valid, self.test))
        return replace(self, valid=valid, test=test)

    @property
    def grid_epochs(self) -> int:
        """Number of epochs of the whole grid, with early stopping, on each cell's seed at index 0."""
        return int(self.lengths[:, 0].sum())


def early_stop(curve: Iterable[float]) -> tuple[int, int, bool]:
    """Return the epochs trained, the index of the best, and whether early stopping ended the curve.

    Source: `early_stopping` in recbole/utils/utils.py.
    """
    best, since, at, epochs = -np.inf, 0, 0, 0
    for index, value in enumerate(curve):
        epochs = index + 1
        if value >= best:
            best, since, at = float(value), 0, index
        else:
            since += 1
            if since > STOPPING_STEP:
                return epochs, at, True
    return epochs, at, False


def read_table(path: Path) -> Table:
    """Read NAME.csv.gz and NAME.json.

    Raises:
        InputError: a curve is missing, or not whole.
    """
    name = path.name.split(".csv")[0]
    about = json.loads(path.with_name(f"{name}.json").read_text())
    space = parse(about["space"])
    frame = pd.read_csv(path)
    names = list(space.names)
    seeds = sorted(frame["seed"].unique())
    cells = frame[names].drop_duplicates().to_dict("records")
    order = {tuple(cell.values()): index for index, cell in enumerate(cells)}
    epochs = int(about.get("epochs", frame["epoch"].max()))
    at = (
        np.array([order[tuple(row)] for row in frame[names].itertuples(index=False)]),
        np.searchsorted(seeds, frame["seed"]),
        frame["epoch"].to_numpy() - 1,
    )

    def curves(column: str) -> Floats:
        filled = np.full((len(cells), len(seeds), epochs), np.nan)
        filled[at] = frame[column].to_numpy(dtype=float)
        return filled

    valid = curves(f"valid_{METRIC}")
    _check_whole(path, valid, cells, seeds)
    seconds = np.ones(len(cells))
    if "seconds" in frame:
        recorded = (~np.isnan(valid)).sum(axis=2)
        seconds = np.median(np.nanmax(curves("seconds"), axis=2) / recorded, axis=1)
    return Table(
        name=name,
        about=about,
        space=space,
        cells=[space.encode({str(key): value for key, value in cell.items()}) for cell in cells],
        seeds=[int(seed) for seed in seeds],
        valid=valid,
        test=curves(f"test_{METRIC}"),
        epoch_seconds=seconds,
    )


def _check_whole(path: Path, valid: Floats, cells: Sequence[object], seeds: Sequence[int]) -> None:
    for cell, of_cell in zip(cells, valid, strict=True):
        for seed, curve in zip(seeds, of_cell, strict=True):
            known = curve[~np.isnan(curve)]
            if len(known) < len(curve) and not early_stop(known)[2]:
                raise InputError(
                    f"the curve of {cell} with seed {seed} has {len(known)} of {len(curve)} epochs",
                    where=str(path),
                )
