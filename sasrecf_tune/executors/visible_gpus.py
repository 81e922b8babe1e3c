"""The GPUs of --gpus as CUDA names them: an index counts the GPUs that CUDA_VISIBLE_DEVICES leaves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import takewhile

from sasrecf_tune.errors import InputError
from sasrecf_tune.machine import GPU_NAME, count_gpus

VARIABLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus(gpus: Sequence[str], inherited: str | None = None) -> tuple[str, ...]:
    """Return for each GPU what a worker's CUDA_VISIBLE_DEVICES must be.

    Args:
        gpus: As `parse_gpus` returns them.
        inherited: The value of CUDA_VISIBLE_DEVICES; None for that of this process.

    Raises:
        InputError: CUDA_VISIBLE_DEVICES leaves no GPU with such an index, or there is none.
    """
    if inherited is None:
        inherited = os.environ.get(VARIABLE)
    found = tuple(gpus)
    if inherited is not None:
        names = _names(inherited)
        found = tuple(_name(gpu, names, inherited) if gpu.isdigit() else gpu for gpu in gpus)
    _check_existence(gpus, found)
    return found


def first_gpu() -> str:
    """Return the name of the GPU that a process uses unless it is told which."""
    return next(iter(_names(os.environ.get(VARIABLE, "0"))), "0")


def _names(value: str) -> list[str]:
    return list(takewhile(GPU_NAME.fullmatch, map(str.strip, value.split(","))))


def _check_existence(gpus: Sequence[str], names: Sequence[str]) -> None:
    """Check the indices: a worker whose GPU does not exist would end a search that others have begun."""
    count = count_gpus()
    for gpu, name in zip(gpus, names, strict=True):
        if count is not None and name.isdigit() and int(name) >= count:
            raise InputError(
                f"there is no GPU {name}: this machine has {count}, from 0 on",
                where=f"--gpus {gpu}" if gpu == name else VARIABLE,
                fix="nvidia-smi -L lists them.",
            )


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
