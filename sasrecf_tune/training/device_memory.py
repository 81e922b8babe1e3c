"""Gives memory of the GPU back to its other users."""

from __future__ import annotations

import gc

import torch


def release_memory() -> None:
    """Return the memory that torch keeps for later use; other workers and programs share the GPU."""
    if torch.cuda.is_available():
        gc.collect()  # a trainer and its hooks refer to each other
        torch.cuda.empty_cache()
