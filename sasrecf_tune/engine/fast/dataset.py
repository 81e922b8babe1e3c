"""RecBole's sequential data set without its matrix of padded prefixes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import recbole.data.dataset.dataset as recbole_dataset
import torch
from numpy.typing import NDArray
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureType

# Column of each sample: where its history begins in `CompactDataset.flat_items`.
START = "sasrecf_tune_start"
_BLOCK = 1 << 24


class Columns(Interaction):  # type: ignore[misc]  # recbole is untyped
    """An Interaction that takes rows by an array without making a list of it for each column."""

    def __getitem__(self, index: Any) -> Any:
        """Column of a name, or the rows at an index."""
        if isinstance(index, np.ndarray):
            index = torch.from_numpy(index)
        if isinstance(index, torch.Tensor) and index.dim() == 1:
            return Columns({name: column[index] for name, column in self.interaction.items()})
        return super().__getitem__(index)


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
        samples = Columns(self.inter_feat.interaction)[end]
        window = {self.item_list_length_field: torch.from_numpy(end - start), START: torch.from_numpy(start)}
        samples.update(Interaction(window))
        self.inter_feat = samples

    def __getitem__(self, index: Any, join: bool = True) -> Interaction:
        """The samples at `index`, without item features whatever `join` says."""
        return super().__getitem__(index, join=False)

    def _load_feat(self, filepath: str, source: Any) -> pd.DataFrame:
        with compiled_parser():
            table: pd.DataFrame = super()._load_feat(filepath, source)
            return table

    def _dataframe_to_interaction(self, data: pd.DataFrame) -> Interaction:
        # RecBole makes a tensor of each row of a sequence column.
        sequences = [name for name in data if self.field2type[name] == FeatureType.TOKEN_SEQ]
        columns = super()._dataframe_to_interaction(data.drop(columns=sequences))
        for name in sequences:
            rows = data[name].to_numpy()
            columns.update(Interaction({name: padded(rows, self.field2seqlen[name])}))
        return columns

    def _grouped_index(self, group_by_list: NDArray[Any]) -> list[NDArray[np.int64]]:
        # Positions of each value, the values in the order of their first appearance.
        _, first, inverse = np.unique(group_by_list, return_index=True, return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        groups = np.split(order, np.cumsum(np.bincount(inverse))[:-1])
        return [groups[group] for group in np.argsort(first)]

    def _split_index_by_leave_one_out(
        self, grouped_index: Sequence[NDArray[np.int64]], leave_one_num: int
    ) -> list[torch.Tensor]:
        if not grouped_index:
            return [torch.empty(0, dtype=torch.int64) for _ in range(leave_one_num + 1)]
        sizes = np.array([len(group) for group in grouped_index])
        place = np.concatenate([np.arange(size) for size in sizes])
        left = np.repeat(sizes, sizes) - place  # how many of the group there are from here on
        # The last ones of a group go to the last parts, but each group's first stays in part 0.
        part = np.where((left <= leave_one_num) & (place > 0), leave_one_num + 1 - left, 0)
        index = np.concatenate(grouped_index)
        return [torch.from_numpy(index[part == number]) for number in range(leave_one_num + 1)]


@contextmanager
def compiled_parser() -> Iterator[None]:
    """Where RecBole reads a regular file with pandas' Python parser, the C one reads the same, sooner."""

    def read_csv(path: str, **options: Any) -> pd.DataFrame:
        if is_regular(Path(path), str(options["delimiter"])):
            # `high` is how the Python parser reads a float, to the last bit.
            compiled = options | {"engine": "c", "float_precision": "high"}
            with suppress(ValueError):
                table: pd.DataFrame = before.read_csv(path, **compiled)
                return table
        fallback: pd.DataFrame = before.read_csv(path, **options)
        return fallback

    before = recbole_dataset.pd
    recbole_dataset.pd = SimpleNamespace(**{**vars(before), "read_csv": read_csv})
    try:
        yield
    finally:
        recbole_dataset.pd = before


def is_regular(path: Path, separator: str) -> bool:
    """Whether pandas' two parsers read a file alike: equally many fields a line, no quotes, no NUL."""
    mark = separator.encode()
    if len(mark) != 1:
        return False
    with path.open("rb") as file:
        head = file.readline()
        fields = head.count(mark)
        while block := head + file.read(_BLOCK) + file.readline():
            head = b""
            if b'"' in block or b"\0" in block or b"\r" in block.replace(b"\r\n", b"\n"):
                return False
            codes = np.frombuffer(block if block.endswith(b"\n") else block + b"\n", dtype=np.uint8)
            marks, ends = np.flatnonzero(codes == mark[0]), np.flatnonzero(codes == ord("\n"))
            if (np.diff(np.searchsorted(marks, ends), prepend=0) != fields).any():
                return False
    return True


def padded(rows: NDArray[Any], longest: int) -> torch.Tensor:
    """`rows` [n] of arrays of whole numbers, each cut to `longest`, padded with 0 on the right: [n, most]."""
    lengths = np.fromiter((min(len(row), longest) for row in rows), np.int64, len(rows))
    matrix = np.zeros((len(rows), lengths.max(initial=0)), dtype=np.int64)
    if matrix.size:
        inside = np.arange(matrix.shape[1]) < lengths[:, None]
        matrix[inside] = np.concatenate([row[:longest] for row in rows])
    return torch.from_numpy(matrix)


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
