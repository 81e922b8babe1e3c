"""What the checks are told, and what they tell."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.engine.datasets import choose_features, find_datasets, training_config


@dataclass(frozen=True)
class CheckSetting:
    """What is checked.

    Attributes:
        device: cpu tests the checks themselves.
        data: ml-100k, or the directory of a data set; searches always train on ml-100k.
        fused: Trials that are measured as one model.
        items: Items of the data set that is generated.
        workers: Workers that share the GPU where little of its memory is free.
        sets: RecBole settings, KEY=VALUE.
    """

    device: Literal["cuda", "cpu"]
    data: str
    layers: int
    fused: int
    items: int
    workers: int
    sets: Sequence[str] = ()

    @property
    def gpu(self) -> str:
        """The GPU for `make_config`: "" for the CPU."""
        return "0" if self.device == "cuda" else ""

    def config(self, data: str | None = None) -> dict[str, Any]:
        """Return the RecBole configuration for `data`, by default that of the checks."""
        one = find_datasets(data or self.data)[0]
        return training_config(one, choose_features([one], [])[0], self.layers, self.sets)


@dataclass(frozen=True)
class Finding:
    """What a check found; `fine` is None for a measurement."""

    fine: bool | None
    facts: dict[str, Any]


def wait_for(device: str) -> None:
    """Wait until the GPU has done all that it was told."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def rounded(numbers: dict[str, float]) -> dict[str, float]:
    """Return the numbers with two digits."""
    return {name: float(f"{number:.1e}") for name, number in numbers.items()}


def free_gib() -> float:
    """Return the free memory of the GPU."""
    import torch

    return float(torch.cuda.mem_get_info()[0]) / 2**30


@contextlib.contextmanager
def all_but(gib: float, device: str) -> Iterator[float]:
    """Hold the GPU's memory in the block, but so much; gives how much is held."""
    if device != "cuda":
        yield 0.0
        return
    import torch

    size = max(0, int((free_gib() - gib) * 2**30))
    held = torch.empty(size, dtype=torch.uint8, device="cuda")
    try:
        yield size / 2**30
    finally:
        del held
        torch.cuda.empty_cache()
