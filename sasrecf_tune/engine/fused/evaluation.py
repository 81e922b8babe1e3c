"""A validation of several trials at once: RecBole's Trainer.evaluate for a ranking of all items.

Users' histories and what they chose next are the same in all trials, the weights are each trial's own. What
RecBole's collector finds it finds for each row of scores by itself, so it takes the rows of all trials.

Sources: recbole/trainer/trainer.py (evaluate, _full_sort_batch_eval), recbole/evaluator/collector.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.evaluator.collector import Collector
from recbole.utils import EvaluatorType

from sasrecf_tune.engine.fast.build import most_users
from sasrecf_tune.engine.fast.length_groups import sent
from sasrecf_tune.engine.fast.trainer import plainly
from sasrecf_tune.engine.fused.encoder import Encoder
from sasrecf_tune.inputs.hyperparameters import evaluation

# The evaluated rows of users, one of each trial below the other.
_COLLECTED = ("rec.items", "rec.topk", "rec.meanrank")


def alike(trainer: Any, samples: Any) -> object | None:
    """Trials of one shape for which this is equal can be validated together on `samples`; None: not at all.

    Candidates that are sampled are each trial's own draw.
    """
    config = trainer.config
    if not isinstance(samples, FullSortEvalDataLoader) or config["eval_type"] != EvaluatorType.RANKING:
        return None
    return id(samples._dataset), evaluation(config.final_config_dict)


@torch.no_grad()
def evaluate(encoder: Encoder, trainers: Sequence[Any], samples: Any) -> list[dict[str, float]]:
    """What Trainer.evaluate on `samples` returns for each of the trainers, whose weights `encoder` holds."""
    first = trainers[0]
    collector = Collector(first.config)
    parts: dict[str, list[torch.Tensor]] = {}
    with plainly():
        for interaction, _, _, items in samples:
            outputs = encoder.outputs(*first.model._windows(interaction))
            users = max(1, most_users(encoder.first.n_items, encoder.device) // encoder.trials)
            chunks = torch.split(outputs, users, dim=1), torch.split(sent(items, encoder.device), users)
            for some, chosen in zip(*chunks, strict=True):
                _collect(collector, encoder, some, chosen)
                for name in _COLLECTED:
                    if name in collector.data_struct:
                        rows = collector.data_struct[name]
                        parts.setdefault(name, []).append(rows.view(*some.shape[:2], -1))
                        del collector.data_struct[name]
    whole = {name: torch.cat(rows, dim=1) for name, rows in parts.items()}
    return [
        _result(trainer, {name: rows[number] for name, rows in whole.items()})
        for number, trainer in enumerate(trainers)
    ]


def _collect(collector: Collector, encoder: Encoder, outputs: torch.Tensor, chosen: torch.Tensor) -> None:
    """Give it the scores that `outputs` [N, B, H] make, of users who chose the items `chosen` [B]."""
    scores = torch.bmm(outputs, encoder.weights["item_embedding.weight"].transpose(1, 2))
    scores[:, :, 0] = -torch.inf
    rows = torch.arange(scores.shape[0] * scores.shape[1], device=encoder.device)
    collector.eval_batch_collect(scores.flatten(0, 1), None, rows, chosen.repeat(encoder.trials))


def _result(trainer: Any, collected: dict[str, torch.Tensor]) -> dict[str, float]:
    for name, rows in collected.items():
        trainer.eval_collector.data_struct.update_tensor(name, rows)
    result: dict[str, float] = trainer.evaluator.evaluate(trainer.eval_collector.get_data_struct())
    return result
