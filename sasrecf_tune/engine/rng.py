"""The random generators that a trial draws from: torch's, numpy's and Python's, which a process has once."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


def rng_states(device: torch.device) -> dict[str, Any]:
    """The generators' states as tensors and plain values."""
    name, keys, *rest = np.random.get_state(legacy=True)  # negative samples (recbole/sampler/sampler.py)
    return {
        "torch": torch.get_rng_state(),  # dropout, the fast engine's too
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": [name, np.asarray(keys).tolist(), *rest],
        "python": random.getstate(),
    }


def set_rng_states(found: dict[str, Any], device: torch.device) -> None:
    """Make the generators go on from what `rng_states` found."""
    torch.set_rng_state(found["torch"])
    if found["cuda"] is not None:
        torch.cuda.set_rng_state(found["cuda"], device)
    name, keys, *rest = found["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    random.setstate(found["python"])


class TrialRng:
    """One trial's part in generators that several trials of a process draw from in turn.

    Whoever draws inside of `mine` draws what it would draw if the process were its own.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.save()

    def save(self) -> None:
        """The generators are others' from here on."""
        self._states = rng_states(self._device)

    def put_back(self) -> None:
        """The generators are this trial's from here on."""
        set_rng_states(self._states, self._device)

    @contextlib.contextmanager
    def mine(self) -> Iterator[None]:
        """The generators are this trial's until the block ends."""
        self.put_back()
        try:
            yield
        finally:
            self.save()

    @contextlib.contextmanager
    def torch_mine(self) -> Iterator[None]:
        """As `mine` for dropout alone, whose generator is torch's on the device: a fraction of the time."""
        cuda = self._device.type == "cuda"
        if cuda:
            torch.cuda.set_rng_state(self._states["cuda"], self._device)
        else:
            torch.set_rng_state(self._states["torch"])
        try:
            yield
        finally:
            if cuda:
                self._states["cuda"] = torch.cuda.get_rng_state(self._device)
            else:
                self._states["torch"] = torch.get_rng_state()
