"""Adds the validation and the test part of the data to the training part."""

from __future__ import annotations

from dataclasses import replace

import torch

from sasrecf_tune.engine.recbole import Prepared


def merge_splits(prepared: Prepared, parts: int) -> Prepared:
    """Return data whose training part has the samples of the first `parts` parts."""
    train, valid, test = prepared.splits
    samples = [split.inter_feat for split in prepared.splits[:parts]]
    kind = type(samples[0])
    merged = kind({name: torch.cat([each[name] for each in samples]) for name in samples[0].columns})
    return replace(prepared, splits=(train.copy(merged), valid, test))
