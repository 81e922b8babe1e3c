"""The global random generators that a trial draws from: torch's, numpy's and Python's."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


def rng_states(device: torch.device, torchs: bool = True) -> dict[str, Any]:
    """Return the states of the generators, of `torchs` own only if asked, as tensors and plain values."""
    name, keys, *rest = np.random.get_state(legacy=True)  # negative samples (recbole/sampler/sampler.py)
    states: dict[str, Any] = {"numpy": [name, np.asarray(keys).tolist(), *rest], "python": random.getstate()}
    if torchs:  # RecBole's dropout
        states["torch"] = torch.get_rng_state()
        states["cuda"] = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return states


def set_rng_states(states: dict[str, Any], device: torch.device) -> None:
    """Set the generators to what `rng_states` returned."""
    if "torch" in states:
        torch.set_rng_state(states["torch"])
    if states.get("cuda") is not None:
        torch.cuda.set_rng_state(states["cuda"], device)
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    random.setstate(states["python"])


class TrialRng:
    """The generator states of one trial, where several trials of a process draw in turn.

    Inside `active` a trial draws the numbers that it would draw in a process of its own.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.save()

    def save(self) -> None:
        """Remember the current states: from now on others use the generators."""
        self._states = rng_states(self._device)

    def restore(self) -> None:
        """Set the generators to the remembered states."""
        set_rng_states(self._states, self._device)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Use this trial's states inside the block."""
        self.restore()
        try:
            yield
        finally:
            self.save()
