"""Gives memory back to its other users."""

from __future__ import annotations

import gc

import torch


def release_memory() -> None:
    """Free what is not in use, and return what torch keeps of the GPU, which other workers share."""
    gc.collect()  # a trainer and its hooks refer to each other
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
