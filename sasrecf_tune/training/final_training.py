"""Trains the final model of a study, or the models of an ensemble, and has them written to files."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from sasrecf_tune.engine.fast.build import FAST
from sasrecf_tune.engine.recbole import Built, build, make_config
from sasrecf_tune.engine.recording_trainer import NOT_A_NUMBER
from sasrecf_tune.engine.split_merging import merge_splits
from sasrecf_tune.messages import Decision, Deployment, Job, Report, Result
from sasrecf_tune.training.data_service import DataService, choose_engine, device_name
from sasrecf_tune.training.device_memory import release_memory
from sasrecf_tune.training.ensemble import averaged
from sasrecf_tune.training.evaluation import test_metrics
from sasrecf_tune.training.model_export import write_model
from sasrecf_tune.training.progress import TrialProgress
from sasrecf_tune.training.trained import Trained, Weights, parameter_count
from sasrecf_tune.training.trial import OnReport, train_trial


def train_final_model(
    data: DataService, job: Job, deployment: Deployment, on_report: OnReport, progress: TrialProgress
) -> Result:
    """Train the model of a deployment, or the models of an ensemble, and write the model directory.

    Raises:
        StorageError: A file cannot be written.
        Exception: What RecBole or torch raises.
    """

    def train(one: Job) -> Trained:
        if deployment.on == "train":
            return train_trial(data, one, on_report, progress)
        return _train_all_epochs(data, one, deployment, on_report, progress)

    if not deployment.seeds:
        trained = train(job)
        _export(data, job, deployment, trained.built.trainer.config, [trained.weights], trained.result)
        return trained.result
    members, weights = [], []
    built: Built | None = None
    for seed in deployment.seeds:
        progress.reports.clear()
        built = None  # a trainer has six times the memory of its model's weights
        release_memory()
        one = replace(job, config=job.config | {"seed": seed}, per_user=None)
        member, own, built = train(one)
        members.append(member)
        weights.append(own)
    assert built is not None
    result = averaged(built, weights, members, deployment.on, job.per_user)
    _export(data, job, deployment, built.trainer.config, weights, result, members)
    return result


def _train_all_epochs(
    data: DataService, job: Job, deployment: Deployment, on_report: OnReport, progress: TrialProgress
) -> Trained:
    config = make_config(job.config | job.local_config, data.gpu)
    engine, note = choose_engine(job.engine, config)
    with_test = deployment.on == "all"
    built = build(config, merge_splits(data.prepare(config, engine), 3 if with_test else 2), engine)

    def report_epoch(epoch: int, loss: float) -> None:
        on_report(Report(job.number, epoch, math.nan, {}, loss, progress.seconds))

    weights = _run_epochs(built, report_epoch)
    result = Result(
        number=job.number,
        decision=Decision.CONTINUE,
        epochs=int(config["epochs"]),
        best_epoch=int(config["epochs"]),
        valid={},
        test={} if with_test else test_metrics(built, job.per_user),
        curve={},
        seconds=progress.seconds,
        device=device_name(config["device"]),
        parameters=parameter_count(built.trainer.model),
        notes=(note,) if note else (),
        threads=torch.get_num_threads(),
    )
    return Trained(result, weights, built)


def _run_epochs(built: Built, on_epoch: Callable[[int, float], None]) -> dict[str, torch.Tensor]:
    """Train all epochs without a validation and return the weights, on the CPU.

    Args:
        on_epoch: Called after each epoch with its number, from 1, and its training loss.

    Raises:
        ValueError: The loss or a weight is not finite.

    Source: recbole/trainer/trainer.py (fit).
    """
    trainer = built.trainer
    trainer.eval_collector.data_collect(built.train)
    for epoch in range(trainer.epochs):
        loss = trainer._train_epoch(built.train, epoch)
        on_epoch(epoch + 1, float(loss))
    weights = {name: value.detach().to("cpu") for name, value in trainer.model.state_dict().items()}
    if not all(value.isfinite().all() for value in weights.values()):
        raise ValueError(NOT_A_NUMBER)
    return weights


def _export(
    data: DataService,
    job: Job,
    deployment: Deployment,
    config: Any,
    weights: Sequence[Weights],
    result: Result,
    members: Sequence[Result] = (),
) -> None:
    # RecBole's own data set does not keep whole histories; ready-made ones are used as they are.
    engine = choose_engine(job.engine, config)[0] if config["benchmark_filename"] else FAST
    dataset = data.prepare(config, engine).dataset
    write_model(deployment, job.config, config, dataset, weights, result, members)
