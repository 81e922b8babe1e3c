"""Writes the files of a model directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import torch
from safetensors.torch import save

from sasrecf_tune import __version__
from sasrecf_tune.engine.fast.scoring_model import item_features
from sasrecf_tune.inputs.hyperparameters import PATH_KEYS
from sasrecf_tune.messages import Config, Deployment, Result
from sasrecf_tune.storage.files import output_error
from sasrecf_tune.storage.manifest import environment
from sasrecf_tune.storage.model_directory import (
    ENDS,
    FEATURE,
    ITEMS,
    Architecture,
    Columns,
    Counts,
    Feature,
    Ids,
    Member,
    ModelDirectory,
    ModelManifest,
    Origin,
    Training,
)


def write_model(
    deployment: Deployment,
    settings: Config,
    config: Any,
    dataset: Any,
    weights: Sequence[Mapping[str, torch.Tensor]],
    result: Result,
    members: Sequence[Result] = (),
) -> None:
    """Write all files of a model directory but the card.

    Args:
        settings: The RecBole configuration as it was given.
        config: RecBole's complete configuration.
        dataset: RecBole's data set, with whole histories if the engine keeps them.
        weights: Those of each model.
        result: The metrics of the only model, or of the mean of their scores.
        members: Those of each model of an ensemble.

    Raises:
        StorageError: A file cannot be written.
    """
    found, values = item_features(dataset, config)
    tensors = {FEATURE + name: value for name, value in values.items()}
    users = ["[PAD]"]
    if hasattr(dataset, "flat_items"):
        users = list(map(str, dataset.field2id_token[dataset.uid_field]))
        tensors[ITEMS] = dataset.flat_items.to(torch.int32)
        tensors[ENDS] = torch.from_numpy(np.cumsum(dataset.history_lengths))
    items = list(map(str, dataset.field2id_token[dataset.iid_field]))
    facts = deployment.facts
    manifest = ModelManifest(
        format=1,
        sasrecf_tune=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        model=config["model"],
        architecture=_architecture(config, found),
        columns=Columns(dataset.uid_field, dataset.iid_field, dataset.time_field or ""),
        counts=Counts(len(users) - 1, len(items) - 1, len(tensors.get(ITEMS, ()))),
        training=Training(
            on=deployment.on,
            epochs=result.best_epoch,
            seed=int(settings["seed"]),
            engine=facts["engine"],
            best_epochs=tuple(facts["best_epochs"]),
            device=result.device,
            threads=result.threads,
            seconds=round(result.seconds, 1),
        ),
        origin=msgspec.convert(facts["origin"], Origin),
        dataset=facts["dataset"],
        fingerprint=facts["fingerprint"],
        config={key: value for key, value in settings.items() if key not in PATH_KEYS},
        valid=result.valid,
        test=result.test,
        members=tuple(
            Member(seed, each.best_epoch, each.valid, each.test)
            for seed, each in zip(deployment.seeds, members, strict=False)
        ),
        **environment(),
    )
    directory = ModelDirectory(deployment.directory)
    try:
        for path, tensors_of_one in zip(directory.weights_of(len(weights)), weights, strict=True):
            path.write_bytes(save({name: each.contiguous() for name, each in tensors_of_one.items()}))
        directory.data.write_bytes(save(tensors))
        directory.write_json(directory.ids, Ids(users, items))
        directory.write_json(directory.manifest, manifest)
    except OSError as error:
        raise output_error(deployment.directory, error) from error


def _architecture(config: Any, features: tuple[Feature, ...]) -> Architecture:
    keys = ("hidden_size", "inner_size", "n_layers", "n_heads", "hidden_act", "layer_norm_eps")
    pooling = {"pooling_mode": config["pooling_mode"]} if features else {}
    return Architecture(
        **{key: config[key] for key in keys},
        **pooling,
        longest=int(config["MAX_ITEM_LIST_LENGTH"]),
        features=features,
    )
