"""Measures the models of an ensemble together: the mean of their scores."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sasrecf_tune.engine.fast.mean_model import MeanModel
from sasrecf_tune.engine.recbole import Built
from sasrecf_tune.messages import Result, TrainOn
from sasrecf_tune.training.evaluation import test_metrics, valid_metrics
from sasrecf_tune.training.trained import Weights


def averaged(
    built: Built, weights: Sequence[Weights], results: Sequence[Result], on: TrainOn, per_user: Path | None
) -> Result:
    """Return the first of `results` with the metrics of the mean of all models' scores.

    Args:
        built: The trainer of one of the models, which is used to measure.
        weights: Those of each model.
        results: Those of each model.
        on: The parts of the data that they were trained on.
        per_user: Where the metrics of each user are written, too; None for nowhere.
    """
    built.trainer.model = MeanModel([_with_weights(built.trainer.model, own) for own in weights])
    return replace(
        results[0],
        valid=valid_metrics(built, per_user) if on == "train" else {},
        test={} if on == "all" else test_metrics(built, per_user),
        parameters=sum(result.parameters for result in results),
        seconds=results[-1].seconds,
    )


def _with_weights(model: Any, weights: Weights) -> Any:
    """A copy of `model` that has `weights` as its parameters; buffers are shared."""
    known = {id(buffer): buffer for buffer in model.buffers()}
    for name, value in model.named_parameters():
        known[id(value)] = torch.nn.Parameter(weights[name].to(value.device), requires_grad=False)
    return copy.deepcopy(model, known)
