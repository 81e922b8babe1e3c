"""A table of recorded learning curves, and where RecBole's early stopping would end each."""

from __future__ import annotations

import json
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
    """The curves of all cells of a space; `valid` and `test` have shape [cells, seeds, epochs]."""

    name: str
    about: dict[str, Any]
    space: SearchSpace
    cells: list[dict[str, Scalar]]  # labels
    seeds: list[int]
    valid: Floats
    test: Floats

    @property
    def epochs(self) -> int:
        """Number of recorded epochs of each curve."""
        return int(self.valid.shape[2])

    @cached_property
    def _stops(self) -> Integers:
        return np.array([[early_stop(curve) for curve in cell] for cell in self.valid])

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


def early_stop(curve: Floats) -> tuple[int, int]:
    """Return the epochs trained and the index of the best.

    Source: `early_stopping` in recbole/utils/utils.py.
    """
    best, since, at = -np.inf, 0, 0
    for index, value in enumerate(curve):
        if value >= best:
            best, since, at = float(value), 0, index
        else:
            since += 1
            if since > STOPPING_STEP:
                return index + 1, at
    return len(curve), at


def read_table(path: Path, seeds: int | None = None) -> Table:
    """Read NAME.csv.gz and NAME.json, all seeds or the first `seeds`.

    Raises:
        InputError: a curve is missing.
    """
    about = json.loads(path.with_name(path.name.split(".csv")[0] + ".json").read_text())
    space = parse(about["space"])
    frame = pd.read_csv(path)
    names = list(space.names)
    kept = sorted(frame["seed"].unique())[:seeds]
    frame = frame[frame["seed"].isin(kept)]
    cells = frame[names].drop_duplicates().to_dict("records")
    epochs = int(frame["epoch"].max())
    shape = (len(cells), len(kept), epochs)
    if len(frame) != np.prod(shape):
        raise InputError(f"holds {len(frame)} rows, not {' * '.join(map(str, shape))}", where=str(path))
    order = {tuple(cell.values()): index for index, cell in enumerate(cells)}
    frame = frame.assign(cell=[order[tuple(row)] for row in frame[names].itertuples(index=False)])
    frame = frame.sort_values(["cell", "seed", "epoch"])
    return Table(
        name=path.name.split(".csv")[0],
        about=about,
        space=space,
        cells=[space.encode({str(key): value for key, value in cell.items()}) for cell in cells],
        seeds=[int(seed) for seed in kept],
        valid=frame[f"valid_{METRIC}"].to_numpy(dtype=float).reshape(shape),
        test=frame[f"test_{METRIC}"].to_numpy(dtype=float).reshape(shape),
    )
