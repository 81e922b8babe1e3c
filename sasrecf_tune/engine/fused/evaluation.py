"""Validates several trials at once: RecBole's Trainer.evaluate for a ranking of all items.

Users' histories and target items are the same in all trials; weights differ.

Source: recbole/trainer/trainer.py (evaluate).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sasrecf_tune.engine.fast.evaluation import RankedTargets, ranks_all_items
from sasrecf_tune.engine.fast.length_groups import to_device
from sasrecf_tune.engine.fast.trainer import without_overhead
from sasrecf_tune.engine.fused.encoder import Encoder
from sasrecf_tune.inputs.hyperparameters import evaluation


def evaluation_key(trainer: Any, samples: Any) -> object | None:
    """Return a key that is equal for trials that can be validated at once; None for a trial that cannot.

    Trials cannot if items to rank are sampled, because each draws its own.
    """
    config = trainer.config
    if not ranks_all_items(config, samples):
        return None
    return id(samples._dataset), evaluation(config.final_config_dict)


@torch.no_grad()
def evaluate(encoder: Encoder, trainers: Sequence[Any], samples: Any) -> list[dict[str, float]]:
    """Return what Trainer.evaluate on `samples` does for each trainer; `encoder` has their weights."""
    model = trainers[0].model
    ranked = [RankedTargets(trainer.config) for trainer in trainers]
    items = encoder.weights["item_embedding.weight"]
    with without_overhead():
        for interaction, _, _, targets in samples:
            target = to_device(targets, encoder.device)
            for each, outputs, own in zip(
                ranked, encoder.outputs(*model._windows(interaction)), items, strict=True
            ):
                each.add(outputs, own, target)
    return [each.metrics(trainer) for each, trainer in zip(ranked, trainers, strict=True)]
