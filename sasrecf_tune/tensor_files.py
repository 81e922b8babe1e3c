"""Writing torch files so that a reader, or a crash, never sees half of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def save(path: Path, content: Any) -> None:
    """Write `content` with torch.save to a temporary name beside `path` and move it into place.

    One process at a time writes a path.

    Raises:
        OSError: the disk refused; what `path` held before is untouched.
    """
    # A name of its own, not a random one: what a killed process leaves is overwritten, and never piles up.
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(content, file)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, RuntimeError):
            # torch's way to say that a write fell short ("unexpected pos").
            raise OSError(f"{path.name} could not be written: {error}") from error
        raise
