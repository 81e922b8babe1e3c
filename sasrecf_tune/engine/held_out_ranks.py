"""Ranks of the held-out items and RecBole's metrics of each user, recorded while a model is evaluated."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.evaluator.register import metrics_dict

from sasrecf_tune.engine.fast.dataset import START
from sasrecf_tune.inputs.metrics import per_user_keys
from sasrecf_tune.storage.per_user_files import HISTORY, ITEM, POPULARITY, RANK, USER

_Array = NDArray[Any]


class HeldOutRanks:
    """Records one evaluation of a trainer, as a context manager.

    RecBole averages over the rows of an evaluation. Where all items are ranked, a row is a held-out item with
    its user. Where candidates are sampled, a row is a user, and the item is the best placed held-out one.

    Source: recbole/evaluator/collector.py (eval_batch_collect), base_metric.py beside it (TopkMetric).
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._parts: list[tuple[_Array, _Array, _Array, _Array]] = []

    def __enter__(self) -> HeldOutRanks:
        self._trainer.eval_collector.on_batch = self._record
        return self

    def __exit__(self, *_: object) -> None:
        self._trainer.eval_collector.on_batch = None

    def columns(self, train: Any) -> dict[str, Any]:
        """Return the columns of `per_user_files`; empty if nothing was evaluated.

        Args:
            train: The training split.
        """
        if not self._parts:
            return {}
        users, items, ranks, rows = (np.concatenate(each) for each in zip(*self._parts, strict=True))
        popularity = _count(train, train.iid_field)
        # The first interaction of a user is no sample, unless the files have ready-made histories.
        first = 0 if self._trainer.config["benchmark_filename"] else 1
        if first:
            popularity += np.bincount(_first_items(train), minlength=len(popularity))
        return {
            USER: train.field2id_token[train.uid_field][users],
            ITEM: train.field2id_token[train.iid_field][items],
            HISTORY: _count(train, train.uid_field)[users] + first,
            POPULARITY: popularity[items],
            RANK: ranks,
        } | self._metrics(rows)

    def _record(
        self,
        scores: torch.Tensor,
        interaction: Any,
        positive_u: torch.Tensor,
        positive_i: torch.Tensor,
        rows: torch.Tensor,
    ) -> None:
        users = interaction[self._trainer.config["USER_ID_FIELD"]]
        if len(users) != len(scores):  # a row for each candidate
            users = torch.unique_consecutive(users)
        own = scores[positive_u, positive_i]
        ranked = scores if len(positive_u) == len(scores) else scores[positive_u]
        above = (ranked > own[:, None]).sum(dim=1).cpu().numpy()
        places, items = positive_u.cpu().numpy(), positive_i.cpu().numpy()
        order = np.lexsort((above, places))
        best = order[np.unique(places[order], return_index=True)[1]]
        found = rows.cpu().numpy()
        hits = found[:, :-1] > 0
        # Items with equal scores have the places that the metrics give them.
        beyond = np.maximum(above[best], hits.shape[1]) + 1
        ranks = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, beyond)
        self._parts.append((users.cpu().numpy(), items[best], ranks, found))

    def _metrics(self, rows: _Array) -> dict[str, _Array]:
        config, collected = self._trainer.config, {"rec.topk": torch.from_numpy(rows)}
        found: dict[str, _Array] = {}
        for name in per_user_keys(map(str.lower, config["metrics"])):
            metric = metrics_dict[name](config)
            metric.topk_result = lambda _, values: values  # what RecBole takes the mean of
            values = metric.calculate_metric(collected)
            found |= {f"{name}@{k}": values[:, k - 1].astype(float) for k in config["topk"]}
        return found


def _first_items(train: Any) -> _Array:
    """The first item of each user with a training sample: that of its shortest history.

    Source: recbole/data/dataset/sequential_dataset.py (data_augmentation).
    """
    samples = train.inter_feat
    users = samples[train.uid_field].cpu().numpy()
    order = np.lexsort((samples[train.item_list_length_field].cpu().numpy(), users))
    shortest = order[np.unique(users[order], return_index=True)[1]]
    if hasattr(train, "flat_items"):
        items = train.flat_items[samples[START][shortest]]
    else:
        items = samples[train.iid_field + train.config["LIST_SUFFIX"]][shortest, 0]
    return np.asarray(items.cpu().numpy())


def _count(train: Any, field: str) -> _Array:
    """How many training samples each id has."""
    ids = train.inter_feat[field].cpu().numpy()
    return np.bincount(ids, minlength=len(train.field2id_token[field]))
