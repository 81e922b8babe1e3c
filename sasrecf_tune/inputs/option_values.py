"""Converts the texts of options to values: sizes, GPUs, and numbers with a word beside them."""

from __future__ import annotations

import re
from decimal import Decimal

from typing_extensions import override

from sasrecf_tune.errors import InputError
from sasrecf_tune.machine import GPU_NAME

# --fuse auto: the number of trials that a measurement at the start favours.
AUTO_FUSE = 0
MOST_FUSED = 64


class Size(int):
    """A number of bytes, whose text is such as "5GB"."""

    @override
    def __str__(self) -> str:
        for exponent, unit in ((12, "TB"), (9, "GB"), (6, "MB"), (3, "KB")):
            if self >= 10**exponent:
                return f"{self / 10**exponent:.4g}{unit}"
        return f"{int(self)}B"


def parse_size(text: str) -> Size:
    """Convert a size such as "5GB", "500MB" or "1.5 GiB" to bytes; 1 GB is 1,000 MB, 1 GiB is 1,024 MiB.

    Raises:
        InputError: The text is not a size.
    """
    units = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
    units |= {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?) *([kmgt]i?|)b?", text.strip().lower(), re.ASCII)
    if found is None:
        raise InputError(
            f"invalid size {text!r}", where="--keep-paused", fix="Examples: 500MB, 5GB, 1.5TB; 0 for nothing."
        )
    return Size(round(Decimal(found[1]) * units[found[2]]))


class Until(float):
    """An expected regret in standard deviations between seeds; zero for never."""

    @override
    def __str__(self) -> str:
        return f"{float(self):g}" if self else "never"


def parse_until(text: str) -> Until:
    """Convert a number above zero, or "never", to the expected regret that ends a search.

    Raises:
        InputError: The text is neither.
    """
    never = text.strip().lower() == "never"
    number = re.fullmatch(r"\d{1,15}(\.\d{0,15})?|\.\d{1,15}", text.strip(), re.ASCII)
    value = 0.0 if never or number is None else float(text)
    if not never and value <= 0:
        raise InputError(
            f"invalid value {text!r}", where="--until", fix="Use a number above 0 such as 1, or never."
        )
    return Until(value)


def parse_gpus(text: str) -> tuple[str, ...]:
    """Convert "auto" (the first GPU), "none" (the CPU) or a list such as "0,1" to GPUs.

    An element is an index, or a name as nvidia-smi -L prints it: GPU-... or MIG-...

    Returns:
        The indices and names; empty for "auto", one empty string for "none".

    Raises:
        InputError: The text is none of these.
    """
    if text == "auto":
        return ()
    if text in {"none", ""}:
        return ("",)
    gpus = tuple(part.strip() for part in text.split(","))
    if not all(GPU_NAME.fullmatch(gpu) for gpu in gpus):
        raise InputError(
            f"invalid `--gpus` value {text!r}",
            fix="Use auto, none, indices such as 0,1, or names such as GPU-... or MIG-... of nvidia-smi -L.",
        )
    return gpus


def parse_fuse(text: str) -> int:
    """Convert "auto" (`AUTO_FUSE`) or a number of trials.

    Raises:
        InputError: The text is neither, or the number is out of range.
    """
    if text == "auto":
        return AUTO_FUSE
    if not (text.isdecimal() and len(text) <= 9 and 1 <= int(text) <= MOST_FUSED):
        raise InputError(
            f"invalid `--fuse` value {text!r}", fix=f"Use auto, or a number from 1 to {MOST_FUSED}."
        )
    return int(text)
