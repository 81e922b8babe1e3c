"""RecBole's sequential data set without its matrix of padded prefixes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import recbole.data.dataset.dataset as recbole_dataset
import torch
from numpy.typing import NDArray
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction

# Column of each sample: where its history begins in `CompactDataset.flat_items`.
START = "sasrecf_tune_start"


class CompactDataset(SequentialDataset):  # type: ignore[misc]  # recbole is untyped
    """Samples as windows of one array of interactions: memory O(interactions), nothing in a Python loop.

    The samples, their order and their splits are those of recbole/data/dataset/sequential_dataset.py,
    which writes every prefix out as a padded row of each column. Item features are not joined to the
    samples either: the model looks them up by item.
    """

    inter_feat: Any
    flat_items: torch.Tensor  # [interactions], the item of each, by user and then by time

    def data_augmentation(self) -> None:
        """See SequentialDataset; each sample gets its window's start and length in place of its items."""
        self._aug_presets()
        self._check_field("uid_field", "time_field")
        self.sort(by=[self.uid_field, self.time_field], ascending=True)
        users = self.inter_feat[self.uid_field].numpy()
        start, end = windows(users, int(self.config["MAX_ITEM_LIST_LENGTH"]))
        self.flat_items = self.inter_feat[self.iid_field].clone()
        samples = self.inter_feat[end]
        samples.update(
            Interaction(
                {
                    self.item_list_length_field: torch.from_numpy(end - start),
                    START: torch.from_numpy(start),
                }
            )
        )
        self.inter_feat = samples

    def __getitem__(self, index: Any, join: bool = True) -> Interaction:
        """The samples at `index`, without item features whatever `join` says."""
        return super().__getitem__(index, join=False)

    def _load_feat(self, filepath: str, source: Any) -> pd.DataFrame:
        with _compiled_parser():
            table: pd.DataFrame = super()._load_feat(filepath, source)
            return table

    def _grouped_index(self, group_by_list: NDArray[Any]) -> list[NDArray[np.int64]]:
        # Positions of each value, the values in the order of their first appearance.
        _, first, inverse = np.unique(group_by_list, return_index=True, return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        groups = np.split(order, np.cumsum(np.bincount(inverse))[:-1])
        return [groups[group] for group in np.argsort(first)]

    def _split_index_by_leave_one_out(
        self, grouped_index: Sequence[NDArray[np.int64]], leave_one_num: int
    ) -> list[NDArray[np.int64]]:
        if not grouped_index:
            return [np.empty(0, dtype=np.int64) for _ in range(leave_one_num + 1)]
        sizes = np.array([len(group) for group in grouped_index])
        place = np.concatenate([np.arange(size) for size in sizes])
        left = np.repeat(sizes, sizes) - place  # how many of the group there are from here on
        # The last ones of a group go to the last parts, but each group's first stays in part 0.
        part = np.where((left <= leave_one_num) & (place > 0), leave_one_num + 1 - left, 0)
        index = np.concatenate(grouped_index)
        return [index[part == number] for number in range(leave_one_num + 1)]


@contextmanager
def _compiled_parser() -> Iterator[None]:
    """RecBole reads its files with pandas' Python parser; the C one reads the same several times faster."""

    def read_csv(*args: Any, **options: Any) -> pd.DataFrame:
        if len(options.get("delimiter") or "") == 1:
            options |= {"engine": "c", "float_precision": "round_trip"}
        table: pd.DataFrame = pd.read_csv(*args, **options)
        return table

    recbole_dataset.pd = SimpleNamespace(**{**vars(pd), "read_csv": read_csv})
    try:
        yield
    finally:
        recbole_dataset.pd = pd


def windows(users: NDArray[Any], longest: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start and end of the history of each sample: all interactions but each user's first are a target.

    `users` [interactions] is sorted. The history of target `end` is `start` to `end - 1`, the last
    `longest` interactions of the user before it (data_augmentation in RecBole).
    """
    position = np.arange(len(users))
    is_first = np.ones(len(users), dtype=bool)
    is_first[1:] = users[1:] != users[:-1]
    first = np.maximum.accumulate(np.where(is_first, position, 0))
    end = position[~is_first]
    return np.maximum(first[end], end - longest), end
