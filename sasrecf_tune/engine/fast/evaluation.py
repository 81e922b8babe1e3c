"""Ranks all items for each sample: what RecBole's collector finds, in fewer passes over the scores.

RecBole's metrics mostly need one thing of a sample: at which of the first places its target is. The number of
items with a higher score says so without sorting.

Sources: recbole/trainer/trainer.py (evaluate, _full_sort_batch_eval), recbole/evaluator/collector.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.evaluator.collector import Collector
from recbole.utils import EvaluatorType
from torch import Tensor

# Scores that are computed at a time: on a CPU 2 MiB, which stay in its cache while they are compared.
_CPU_SCORES = 1 << 19
_CUDA_SCORES = 1 << 27
# Fewer would read the vectors of all items too often.
_FEWEST_USERS = 32
# Below this number of items a sum of ones is exact in float32.
_EXACT_COUNT = 1 << 24


def ranks_all_items(config: Any, samples: Any) -> bool:
    """Return whether an evaluation of `samples` ranks all items for the target of each sample."""
    return isinstance(samples, FullSortEvalDataLoader) and config["eval_type"] == EvaluatorType.RANKING


def users_per_chunk(items: int, device: torch.device) -> int:
    """Return the number of users whose scores of all items are computed at a time."""
    return max(_FEWEST_USERS, (_CUDA_SCORES if device.type == "cuda" else _CPU_SCORES) // items)


def score_chunks(outputs: Tensor, items: Tensor) -> Iterator[Tensor]:
    """Yield the scores of all items, [users, items], for `users_per_chunk` users at a time.

    The score of item 0, the padding, is -inf. Each chunk overwrites the previous one: the system would fill
    new memory with zeros each time.

    Args:
        outputs: The model's outputs, [all users, hidden].
        items: The item embeddings, [items, hidden].
    """
    users = users_per_chunk(len(items), outputs.device)
    memory = outputs.new_empty(min(users, len(outputs)), len(items))
    for some in torch.split(outputs, users):
        scores = torch.mm(some, items.T, out=memory[: len(some)])
        scores[:, 0] = -torch.inf
        yield scores


def collect_scores(collector: Any, interaction: Any, outputs: Tensor, items: Tensor, target: Tensor) -> None:
    """Give RecBole's `collector` the scores of all items, `users_per_chunk` samples at a time.

    RecBole scores a whole batch at once, which takes gigabytes for 4096 samples and 100,000 items.

    Args:
        interaction: The samples.
        outputs: The model's outputs, [samples, hidden].
        items: The item embeddings, [items, hidden].
        target: The item that each sample should have first, [samples].
    """
    low = 0
    for scores in score_chunks(outputs, items):
        some = slice(low, low + len(scores))
        places = torch.arange(len(scores), device=scores.device)
        collector.eval_batch_collect(scores, interaction[some], places, target[some])
        low = some.stop


class RankedTargets:
    """What the metrics of `config` need, of all samples of an evaluation.

    Each row of scores is treated separately, so that samples may come in chunks of any size.
    """

    def __init__(self, config: Any) -> None:
        self._collector = Collector(config)
        self._most = max(config["topk"])
        self._rows: dict[str, list[Tensor]] = {}

    def add(self, outputs: Tensor, items: Tensor, target: Tensor) -> None:
        """Rank all items for some samples.

        Args:
            outputs: The model's outputs, [samples, hidden].
            items: The item embeddings, [items, hidden].
            target: The item that each sample should have first, [samples].
        """
        places = TargetPlaces(len(items), self._most)
        chunks = torch.split(target, users_per_chunk(len(items), outputs.device))
        for scores, wanted in zip(score_chunks(outputs, items), chunks, strict=True):
            for name, rows in self._collect(scores, wanted, places).items():
                self._rows.setdefault(name, []).append(rows)

    def metrics(self, trainer: Any) -> dict[str, float]:
        """Return the metrics that `trainer` evaluates."""
        for name, rows in self._rows.items():
            trainer.eval_collector.data_struct.update_tensor(name, torch.cat(rows))
        result: dict[str, float] = trainer.evaluator.evaluate(trainer.eval_collector.get_data_struct())
        return result

    def _collect(self, scores: Tensor, target: Tensor, places: TargetPlaces) -> dict[str, Tensor]:
        need, found = self._collector.register.need, {}
        if need("rec.meanrank"):  # needs all items in order
            self._collector.eval_batch_collect(
                scores, None, torch.arange(len(scores), device=scores.device), target
            )
            found = dict(self._collector.data_struct._data_dict)
            self._collector.data_struct._data_dict.clear()
            return found
        if need("rec.items") or not places.countable(scores):
            best = torch.topk(scores, self._most, dim=-1).indices
            hits = best == target[:, None]
            if need("rec.items"):
                found["rec.items"] = best
        else:
            hits = places.find(scores, target)
        if need("rec.topk"):
            # RecBole adds the number of targets, which is 1.
            found["rec.topk"] = torch.nn.functional.pad(hits.int(), (0, 1), value=1)
        return found


class TargetPlaces:
    """Finds targets among the first `most` places of `items` ranked items, as torch.topk ranks them."""

    def __init__(self, items: int, most: int) -> None:
        self._items, self._most = items, most
        self._ones = torch.ones(items)
        self._memory = torch.empty(0)

    def countable(self, scores: Tensor) -> bool:
        """Return whether `find` can be used: a GPU would wait for it, and topk fails for few items."""
        return scores.device.type == "cpu" and self._most <= self._items < _EXACT_COUNT

    def find(self, scores: Tensor, target: Tensor) -> Tensor:
        """Return whether the `target` of each row of `scores` is at each place, [rows, most]."""
        if self._memory.numel() < scores.numel():
            self._memory = torch.empty(scores.numel())
        wanted = scores.gather(1, target[:, None])
        # As numbers: their sum is a product. What is not at most as high is ahead, as NaN is in topk.
        at_most = torch.le(scores, wanted, out=self._memory[: scores.numel()].view_as(scores))
        ahead = self._items - (at_most @ self._ones).long()
        hits = torch.zeros(len(scores), self._most, dtype=torch.bool)
        rows = ((ahead < self._most) | wanted[:, 0].isnan()).nonzero()[:, 0]
        # How topk orders equal scores is not specified: where the target's is not the only one, ask it.
        tied = (scores[rows] == wanted[rows]).sum(1) != 1
        alone, rows = rows[~tied], rows[tied]
        hits[alone, ahead[alone]] = True
        if len(rows):
            hits[rows] = torch.topk(scores[rows], self._most, dim=-1).indices == target[rows, None]
        return hits
