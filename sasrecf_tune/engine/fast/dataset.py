"""RecBole's sequential data set without a padded history for each sample."""

from __future__ import annotations

import math
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
from typing_extensions import override

# Column of samples: the start of the history in `CompactDataset.flat_items`.
START = "sasrecf_tune_start"
_BLOCK = 1 << 24


class Columns(Interaction):  # type: ignore[misc]  # recbole is untyped
    """An Interaction that selects rows by an array without converting it to a list for each column."""

    @override
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, np.ndarray):
            index = torch.from_numpy(index)
        if isinstance(index, torch.Tensor) and index.dim() == 1:
            return Columns({name: column[index] for name, column in self.interaction.items()})
        return super().__getitem__(index)


class CompactDataset(SequentialDataset):  # type: ignore[misc]  # recbole is untyped
    """Samples as windows of one array of interactions: O(interactions) memory, no Python loop.

    The samples, their order and their splits are RecBole's. RecBole stores each history as a padded row of
    each column, and joins item features to the samples; here the model looks them up by item.

    Attributes:
        flat_items: The item of each interaction, by user and then by time, [interactions].
        history_lengths: The number of interactions of each user, [users].

    Source: recbole/data/dataset/sequential_dataset.py.
    """

    inter_feat: Any
    flat_items: torch.Tensor
    history_lengths: NDArray[np.int64]

    @override
    def data_augmentation(self) -> None:
        # Each sample gets the start and the length of its history in place of its items.
        self._aug_presets()
        self._check_field("uid_field", "time_field")
        # By user and then by time, equal times in the order of the file: RecBole's two stable sorts.
        columns = [self.inter_feat[field].numpy() for field in (self.time_field, self.uid_field)]
        # Of a column among `numerical_features`, the first part is the value.
        order = np.lexsort([column if column.ndim == 1 else column[:, 0] for column in columns])
        ordered = Columns(self.inter_feat.interaction)[order]
        users = ordered[self.uid_field].numpy()
        start, end = history_windows(users, int(self.config["MAX_ITEM_LIST_LENGTH"]))
        self.flat_items = ordered[self.iid_field]
        self.history_lengths = np.bincount(users, minlength=int(self.user_num))
        samples = ordered[end]
        window = {self.item_list_length_field: torch.from_numpy(end - start), START: torch.from_numpy(start)}
        samples.update(Interaction(window))
        self.inter_feat = samples

    @override
    def __getitem__(self, index: Any, join: bool = True) -> Interaction:
        # Never with item features.
        return super().__getitem__(index, join=False)

    @override
    def _load_feat(self, filepath: str, source: Any) -> pd.DataFrame:
        with compiled_parser():
            table: pd.DataFrame = super()._load_feat(filepath, source)
            return table

    @override
    def _filter_by_inter_num(self) -> None:
        # RecBole counts all interactions twice for its default intervals, too, which keep everything.
        intervals = (self.config["user_inter_num_interval"], self.config["item_inter_num_interval"])
        if not all(keeps_everything(self._parse_intervals_str(interval)) for interval in intervals):
            super()._filter_by_inter_num()

    @override
    def _dataframe_to_interaction(self, data: pd.DataFrame) -> Interaction:
        # RecBole converts each row of a sequence column to a tensor.
        sequences = [name for name in data if self.field2type[name] == FeatureType.TOKEN_SEQ]
        columns = super()._dataframe_to_interaction(data.drop(columns=sequences))
        for name in sequences:
            rows = data[name].to_numpy()
            columns.update(Interaction({name: pad_rows(rows, self.field2seqlen[name])}))
        return columns

    @override
    def _grouped_index(self, group_by_list: NDArray[Any]) -> list[NDArray[np.int64]]:
        # The positions of each value, in the order of the first appearance of values.
        order = np.argsort(group_by_list, kind="stable")
        ordered = group_by_list[order]
        if not len(order):
            return []
        starts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
        groups = np.split(order, starts)
        return [groups[group] for group in np.argsort(order[[0, *starts]])]

    @override
    def _split_index_by_leave_one_out(
        self, grouped_index: Sequence[NDArray[np.int64]], leave_one_num: int
    ) -> list[torch.Tensor]:
        if not grouped_index:
            return [torch.empty(0, dtype=torch.int64) for _ in range(leave_one_num + 1)]
        sizes = np.array([len(group) for group in grouped_index])
        place = np.concatenate([np.arange(size) for size in sizes])
        left = np.repeat(sizes, sizes) - place  # samples of the group from here on
        # The last samples of a group go to the last parts, but its first one stays in part 0.
        part = np.where((left <= leave_one_num) & (place > 0), leave_one_num + 1 - left, 0)
        index = np.concatenate(grouped_index)
        return [torch.from_numpy(index[part == number]) for number in range(leave_one_num + 1)]


@contextmanager
def compiled_parser() -> Iterator[None]:
    """Make RecBole read regular files with pandas' C parser, which is faster and gives the same result."""

    def read_csv(path: str, **options: Any) -> pd.DataFrame:
        if is_regular(Path(path), str(options["delimiter"])):
            # The Python parser reads floats with the precision `high`.
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
    """Return whether pandas' parsers agree on a file: no quotes, no NUL, equally many fields per line."""
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


def pad_rows(rows: NDArray[Any], longest: int) -> torch.Tensor:
    """Truncate arrays of integers to `longest` and pad them with 0 on the right, [rows, longest row]."""
    lengths = np.fromiter((min(len(row), longest) for row in rows), np.int64, len(rows))
    matrix = np.zeros((len(rows), lengths.max(initial=0)), dtype=np.int64)
    if matrix.size:
        inside = np.arange(matrix.shape[1]) < lengths[:, None]
        matrix[inside] = np.concatenate([row[:longest] for row in rows])
    return torch.from_numpy(matrix)


def keeps_everything(intervals: Sequence[tuple[str, float, float, str]] | None) -> bool:
    """Return whether `intervals`, as RecBole parses them, contain every number of interactions."""
    if not intervals:
        return intervals is None
    ((bracket, low, high, _),) = intervals[:1]
    return len(intervals) == 1 and high == math.inf and (low < 0 or (low == 0 and bracket == "["))


def history_windows(users: NDArray[Any], longest: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the start and the end of each sample's history.

    Every interaction except each user's first is the target of a sample. The history of target `end` is the
    interactions `start` to `end - 1`, at most `longest` of the same user.

    Args:
        users: The user of each interaction, sorted, [interactions].
        longest: The largest length of a history.

    Source: recbole/data/dataset/sequential_dataset.py (data_augmentation).
    """
    position = np.arange(len(users))
    is_first = np.ones(len(users), dtype=bool)
    is_first[1:] = users[1:] != users[:-1]
    first = np.maximum.accumulate(np.where(is_first, position, 0))
    end = position[~is_first]
    return np.maximum(first[end], end - longest), end
