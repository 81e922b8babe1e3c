"""Measures the models of an ensemble together: the mean of their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sasrecf_tune.engine.fast.mean_model import MeanModel
from sasrecf_tune.messages import Result, TrainOn
from sasrecf_tune.training.evaluation import test_metrics, valid_metrics
from sasrecf_tune.training.trained import Trained


def averaged(runs: Sequence[Trained], on: TrainOn, per_user: Path | None) -> Result:
    """Return the result of the first of `runs` with the metrics of the mean of all models' scores.

    Args:
        on: The parts of the data that they were trained on.
        per_user: Where the metrics of each user are written, too; None for nowhere.
    """
    built, last = runs[-1].built, runs[-1].result
    built.trainer.model = MeanModel([run.built.trainer.model for run in runs])
    return replace(
        runs[0].result,
        valid=valid_metrics(built, per_user) if on == "train" else {},
        test={} if on == "all" else test_metrics(built, per_user),
        parameters=sum(run.result.parameters for run in runs),
        seconds=last.seconds,
    )
