"""Batches of an epoch, longest histories first, with their columns on the device.

The order of samples is the one that RecBole's loader draws. It goes to the device once an epoch; a step reads
its samples there from a table of the whole data set. Only the lengths stay on the host, which decides by them
how a batch is split into groups (length_groups.py).

Source: recbole/data/dataloader/abstract_dataloader.py, torch/utils/data (DataLoader, RandomSampler).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.dataloader import TrainDataLoader
from recbole.data.transform import Equal
from torch import Tensor
from torch.utils.data import RandomSampler, SequentialSampler

from sasrecf_tune.engine.fast.dataset import START, CompactDataset
from sasrecf_tune.engine.fast.length_groups import Budget, Group, group_bounds, to_device


@dataclass(frozen=True)
class Batch:
    """A training batch by descending length, of one trial or with a leading axis of trials.

    Attributes:
        lengths: The lengths of histories, on the host, [batch] or [trials, batch], as the others are.
        rows: The place of each sample in RecBole's batch.
        start: The starts of histories.
        length: As `lengths`, on the device.
        positive: The target items.
        negative: The negative items of BPR; None otherwise.
    """

    lengths: NDArray[np.int64]
    rows: Tensor
    start: Tensor
    length: Tensor
    positive: Tensor
    negative: Tensor | None = None

    def groups(self, budget: Budget) -> list[Group]:
        """Split the batch into groups; in each, the samples of one trial follow those of another."""
        widest = self.lengths if self.lengths.ndim == 1 else self.lengths.max(0)
        groups = []
        for low, high, longest in group_bounds(widest, budget):
            part, columns = slice(low, high), (self.rows, self.start, self.length)
            rows, start, length = (column[..., part].reshape(-1) for column in columns)
            groups.append(Group(rows, start, length, longest, part))
        return groups


def sort_batch(
    start: Tensor, length: Tensor, positive: Tensor, negative: Tensor | None, device: torch.device
) -> Batch:
    """Sort a batch by length and send it to `device`; the columns are [batch] or [trials, batch]."""
    rows = torch.from_numpy(longest_first(length.numpy(force=True)))
    columns = [start, length, positive, *([] if negative is None else [negative])]
    ordered = torch.stack([rows, *(column.to(rows.device).gather(-1, rows) for column in columns)])
    return Batch(ordered[2].numpy(), *to_device(ordered, device).unbind())


def longest_first(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the stable order of descending lengths along the last axis."""
    if lengths.max(initial=0) < 1 << 15:
        lengths = lengths.astype(np.int16)  # numpy sorts it by radix
    return np.argsort(-lengths, axis=-1, kind="stable")


class _SampleTable:
    """The columns of all training samples, on the host and on a device."""

    def __init__(self, dataset: CompactDataset, device: torch.device) -> None:
        samples = dataset.inter_feat
        self.lengths: NDArray[np.int64] = samples[dataset.item_list_length_field].numpy()
        names = START, dataset.item_list_length_field, dataset.iid_field
        self.columns = to_device(torch.stack([samples[name] for name in names]), device)


# All trials of a process on the same data share its table.
_TABLES: WeakKeyDictionary[CompactDataset, dict[torch.device, _SampleTable]] = WeakKeyDictionary()


def _table_of(dataset: CompactDataset, device: torch.device) -> _SampleTable:
    tables = _TABLES.setdefault(dataset, {})
    if device not in tables:
        tables[device] = _SampleTable(dataset, device)
    return tables[device]


def reads_table(samples: Any) -> bool:
    """Return whether `samples` are those of a data set in some order, without negatives or transformation."""
    return (
        type(samples) is TrainDataLoader
        and isinstance(samples._dataset, CompactDataset)
        and "none" in (samples.neg_sample_args["distribution"], samples.neg_sample_args["sample_num"])
        and type(samples.transform) is Equal
        and type(samples.sampler) in (RandomSampler, SequentialSampler)
    )


def epoch_batches(loaders: Sequence[Any], device: torch.device, trial_axis: bool = True) -> Iterator[Batch]:
    """Draw the next epoch of loaders that `reads_table` accepts, of the same data and batch size.

    Args:
        loaders: One for each trial.
        device: The device of the batches.
        trial_axis: Whether batches have an axis of trials; without one there is one loader.
    """
    first = loaders[0]
    table, size = _table_of(first._dataset, device), int(first.batch_size)
    order = np.stack([_draw_order(loader) for loader in loaders])
    lengths = table.lengths[order]
    rows = np.concatenate(
        [longest_first(lengths[:, low : low + size]) for low in range(0, order.shape[1], size)],
        axis=1,
    )
    sorted_place = rows + np.arange(order.shape[1]) // size * size
    order, lengths = (np.take_along_axis(each, sorted_place, axis=1) for each in (order, lengths))
    places = to_device(torch.from_numpy(rows.astype(np.int32)), device)
    samples = to_device(torch.from_numpy(order), device)
    if not trial_axis:
        lengths, places, samples = lengths[0], places[0], samples[0]
    for low in range(0, order.shape[1], size):
        some = np.s_[..., low : low + size]
        yield Batch(lengths[some], places[some], *table.columns[:, samples[some]].unbind())


def _draw_order(loader: Any) -> NDArray[np.int64]:
    """Return the next epoch's order of samples; afterwards the loader's generator is as after an epoch."""
    generator, count = loader.generator, int(loader.sample_size)
    torch.empty((), dtype=torch.int64).random_(
        generator=generator
    )  # a seed for processes, of which it has none
    if type(loader.sampler) is SequentialSampler:
        return np.arange(count)
    order: NDArray[np.int64] = torch.randperm(count, generator=generator).numpy()
    torch.randperm(count, generator=generator)  # RandomSampler draws one more, of which it takes nothing
    return order
