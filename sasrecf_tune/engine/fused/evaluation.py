"""Validates several trials at once: RecBole's Trainer.evaluate for a ranking of all items.

Users' histories and target items are the same in all trials; weights differ. RecBole's collector treats each
row of scores separately, so it can take the rows of all trials.

Sources: recbole/trainer/trainer.py (evaluate, _full_sort_batch_eval), recbole/evaluator/collector.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.evaluator.collector import Collector
from recbole.utils import EvaluatorType

from sasrecf_tune.engine.fast.build import users_per_chunk
from sasrecf_tune.engine.fast.length_groups import to_device
from sasrecf_tune.engine.fast.trainer import without_overhead
from sasrecf_tune.engine.fused.encoder import Encoder
from sasrecf_tune.inputs.hyperparameters import evaluation

# What the collector finds for each row; the rows of a trial follow those of the previous one.
_COLLECTED = ("rec.items", "rec.topk", "rec.meanrank")


def evaluation_key(trainer: Any, samples: Any) -> object | None:
    """Return a key that is equal for trials that can be validated at once; None for a trial that cannot.

    Trials cannot if items to rank are sampled, because each draws its own.
    """
    config = trainer.config
    if not isinstance(samples, FullSortEvalDataLoader) or config["eval_type"] != EvaluatorType.RANKING:
        return None
    return id(samples._dataset), evaluation(config.final_config_dict)


@torch.no_grad()
def evaluate(encoder: Encoder, trainers: Sequence[Any], samples: Any) -> list[dict[str, float]]:
    """Return what Trainer.evaluate on `samples` does for each trainer; `encoder` has their weights."""
    first = trainers[0]
    collector = Collector(first.config)
    parts: dict[str, list[torch.Tensor]] = {}
    with without_overhead():
        for interaction, _, _, targets in samples:
            outputs = encoder.outputs(*first.model._windows(interaction))
            users = max(1, users_per_chunk(encoder.first.n_items, encoder.device) // encoder.trials)
            target_chunks = torch.split(to_device(targets, encoder.device), users)
            for some, target in zip(torch.split(outputs, users, dim=1), target_chunks, strict=True):
                _collect(collector, encoder, some, target)
                for name in _COLLECTED:
                    if name in collector.data_struct:
                        rows = collector.data_struct[name]
                        parts.setdefault(name, []).append(rows.view(*some.shape[:2], -1))
                        del collector.data_struct[name]
    joined = {name: torch.cat(rows, dim=1) for name, rows in parts.items()}
    return [
        _result(trainer, {name: rows[number] for name, rows in joined.items()})
        for number, trainer in enumerate(trainers)
    ]


def _collect(collector: Collector, encoder: Encoder, outputs: torch.Tensor, target: torch.Tensor) -> None:
    """Pass the scores of `outputs`, [trials, users, hidden], and the `target` items to the collector."""
    scores = torch.bmm(outputs, encoder.weights["item_embedding.weight"].transpose(1, 2))
    scores[:, :, 0] = -torch.inf
    rows = torch.arange(scores.shape[0] * scores.shape[1], device=encoder.device)
    collector.eval_batch_collect(scores.flatten(0, 1), None, rows, target.repeat(encoder.trials))


def _result(trainer: Any, collected: dict[str, torch.Tensor]) -> dict[str, float]:
    for name, rows in collected.items():
        trainer.eval_collector.data_struct.update_tensor(name, rows)
    result: dict[str, float] = trainer.evaluator.evaluate(trainer.eval_collector.get_data_struct())
    return result
