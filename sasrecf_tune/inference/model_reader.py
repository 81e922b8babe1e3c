"""Reads a model directory, which may come from somebody else, and checks all of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sasrecf_tune.engine.fast.mean_model import MeanModel
from sasrecf_tune.engine.fast.model import FastModel
from sasrecf_tune.engine.fast.scoring_model import item_inputs, scoring_model
from sasrecf_tune.inference.histories import Histories
from sasrecf_tune.storage.model_directory import (
    ENDS,
    FEATURE,
    ITEMS,
    Feature,
    ModelDirectory,
    ModelManifest,
    check_regular,
    damaged,
)


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to use.

    Attributes:
        index: The original ids of the items, in the order of the rows from 1.
        model: The only model, or the mean of an ensemble's.
        inputs: The model's input for each item, [items, hidden].
        histories: Those of the users of the data set; None if they are not in the directory.
    """

    manifest: ModelManifest
    index: pd.Index[str]
    model: FastModel | MeanModel
    inputs: Tensor
    histories: Histories | None


def read_model(path: Path, device: torch.device) -> LoadedModel:
    """Read and check a model directory.

    Raises:
        InputError: There is no model.
        StorageError: It is damaged.
    """
    directory = ModelDirectory(path)
    directory.check()
    manifest = directory.read_manifest()
    ids = directory.read_ids(manifest.counts)
    data = _tensors(directory.data)
    items = len(ids.items)
    features = {
        each.name: _feature(each, data.get(FEATURE + each.name), items, directory.data)
        for each in manifest.architecture.features
    }
    paths = directory.weights_of(len(manifest.members))
    models, inputs = zip(*(_model(path, manifest, items, features, device) for path in paths), strict=True)
    model = models[0] if len(models) == 1 else MeanModel(models)
    users = np.array(ids.users[1:], dtype=object)
    histories = _histories(data, users, items, directory.data)
    index = pd.Index(ids.items[1:], dtype=object)
    if not index.is_unique:
        raise damaged(directory.ids, "has an item twice")
    return LoadedModel(manifest, index, model, torch.cat(inputs, dim=-1), histories)


def _model(
    path: Path, manifest: ModelManifest, items: int, features: dict[str, Tensor], device: torch.device
) -> tuple[FastModel, Tensor]:
    """A model, and its input for each item."""
    check_regular(path)
    weights = _tensors(path)
    for name, tensor in weights.items():
        if tensor.dtype != torch.float32 or not tensor.isfinite().all():
            raise damaged(path, f"has a wrong number in {name}")
    try:
        model = scoring_model(manifest.model, manifest.architecture, items, weights, features, device)
        return model, item_inputs(model)
    except Exception as error:  # RecBole and torch can raise anything
        raise damaged(path, "does not fit the architecture in model.json") from error


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except OSError as error:
        raise damaged(path, f"cannot be read: {error.strerror}") from error
    except (SafetensorError, ValueError, RuntimeError, KeyError) as error:
        raise damaged(path, "is not a safetensors file, or not whole") from error


def _feature(feature: Feature, values: Tensor | None, items: int, path: Path) -> Tensor:
    """Check the values of an item feature: a model would read outside of its tables."""
    fault = damaged(path, f"has no valid values of the item feature {feature.name!r}")
    if values is None or len(values.shape) < 1 or len(values) != items:
        raise fault
    if values.dim() != (1 if feature.kind == "token" else 2) or values.numel() == 0:
        raise fault
    if feature.kind == "float":
        if values.shape[-1] != 2 or not values.is_floating_point() or not values.isfinite().all():
            raise fault
        codes = values[..., 1]
    else:
        if values.dtype != torch.int64:
            raise fault
        codes = values
    if codes.min() < 0 or codes.max() >= feature.size:
        raise fault
    return values


def _histories(
    data: dict[str, Tensor], users: np.ndarray[tuple[int], np.dtype[np.object_]], items: int, path: Path
) -> Histories | None:
    flat, ends = data.get(ITEMS), data.get(ENDS)
    if flat is None or ends is None:
        return None
    valid = (
        (flat.dtype, ends.dtype) == (torch.int32, torch.int64)
        and flat.dim() == 1
        and ends.shape == (len(users) + 1,)
        and int(ends[0]) == 0
        and int(ends[-1]) == len(flat)
        and bool((ends.diff() >= 0).all())
        and (len(flat) == 0 or (int(flat.min()) > 0 and int(flat.max()) < items))
    )
    if not valid:
        raise damaged(path, "has no valid histories")
    return Histories(users, flat.numpy(), ends[1:].numpy())
