"""The GPUs of --gpus as CUDA names them: an index counts the GPUs that CUDA_VISIBLE_DEVICES leaves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import takewhile

from sasrecf_tune.errors import InputError

VARIABLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus(gpus: Sequence[str], inherited: str | None = None) -> tuple[str, ...]:
    """Return for each GPU what a worker's CUDA_VISIBLE_DEVICES must be.

    Args:
        gpus: As `parse_gpus` returns them.
        inherited: The value of CUDA_VISIBLE_DEVICES; None for that of this process.

    Raises:
        InputError: CUDA_VISIBLE_DEVICES leaves no GPU with such an index.
    """
    if inherited is None:
        inherited = os.environ.get(VARIABLE)
    if inherited is None:
        return tuple(gpus)
    names = _names(inherited)
    return tuple(_name(gpu, names, inherited) if gpu.isdigit() else gpu for gpu in gpus)


def first_gpu() -> str:
    """Return the name of the GPU that a process uses unless it is told which."""
    return next(iter(_names(os.environ.get(VARIABLE, "0"))), "0")


def _names(value: str) -> list[str]:
    # CUDA ignores the first invalid name and all that follow; "-1" is the usual way to hide them.
    return list(takewhile(lambda name: name and not name.startswith("-"), map(str.strip, value.split(","))))


def _name(gpu: str, names: Sequence[str], inherited: str) -> str:
    if int(gpu) < len(names):
        return names[int(gpu)]
    indices = ", ".join(map(str, range(len(names))))
    raise InputError(
        f"{VARIABLE}={inherited} leaves {len(names) or 'no'} GPU{'s' * (len(names) != 1)}",
        where=f"--gpus {gpu}",
        fix=f"An index counts those GPUs: use {indices}."
        if names
        else f"unset {VARIABLE}, or use --gpus none.",
    )
