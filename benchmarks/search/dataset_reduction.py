"""Reduces a data set, so that hundreds of learning curves can be recorded on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from benchmarks.engine.datasets import Dataset
from sasrecf_tune.inputs.dataset_files import locate

_SEED = 2020

# The command line's options for a reduction.
Users = Annotated[int, typer.Option(min=0, help="Number of users to keep, drawn at random; 0 for all.")]
Last = Annotated[int, typer.Option(min=0, help="Number of each user's last interactions to keep; 0 for all.")]
MinItem = Annotated[int, typer.Option(min=0, help="Then keep items with at least this many interactions.")]
MinUser = Annotated[int, typer.Option(min=0, help="Then keep users with at least this many interactions.")]


@dataclass(frozen=True)
class Reduction:
    """Steps of a reduction, in this order; 0 leaves a step out.

    Keep `users` users, drawn at random; the `last` interactions of each; then, once, the items with at
    least `min_item` interactions, and the users with at least `min_user`.
    """

    users: int = 0
    last: int = 0
    min_item: int = 0
    min_user: int = 0


def reduce_dataset(data: Dataset, reduction: Reduction, directory: Path) -> Dataset:
    """Write the reduced data set below `directory`, under the name NAME-reduced."""
    files = locate(data.name, None if data.parent is None else str(data.parent))
    inter = pd.read_csv(files.interactions, sep="\t", dtype=str)
    items = pd.read_csv(files.file("item"), sep="\t", dtype=str, keep_default_na=False)
    user, item, when = (_column(inter, name) for name in ("user_id", "item_id", "timestamp"))
    if reduction.users:
        known = inter[user].drop_duplicates()
        drawn = known.sample(min(reduction.users, len(known)), random_state=_SEED)
        inter = inter[inter[user].isin(set(drawn))]
    if reduction.last:
        # A stable sort, as RecBole's: interactions with the same timestamp keep the file's order.
        order = inter[when].astype(float).sort_values(kind="stable").index
        inter = inter.loc[order].groupby(user, sort=False).tail(reduction.last)
    if reduction.min_item:
        inter = inter[inter.groupby(item)[item].transform("size") >= reduction.min_item]
    if reduction.min_user:
        inter = inter[inter.groupby(user)[user].transform("size") >= reduction.min_user]
    name = f"{data.name}-reduced"
    target = directory / name
    target.mkdir(parents=True)
    inter.sort_index().to_csv(target / f"{name}.inter", sep="\t", index=False)
    kept = items[_column(items, "item_id")].isin(set(inter[item]))
    items[kept].to_csv(target / f"{name}.item", sep="\t", index=False)
    return Dataset(name, directory, data.item_columns)


def _column(frame: pd.DataFrame, name: str) -> str:
    return next(str(column) for column in frame.columns if str(column).split(":")[0] == name)
