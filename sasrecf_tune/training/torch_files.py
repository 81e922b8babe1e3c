"""Writing torch files so that a reader, or a crash, never sees half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch


def save(path: Path, content: Any, *, durable: bool = True) -> None:
    """Write `content` with torch.save to a temporary name beside `path` and move it into place.

    One process at a time writes a path. What is `durable` is on disk when this returns.

    Raises:
        OSError: the disk refused; what `path` held before is untouched.
    """
    # A name of its own, not a random one: what a killed process leaves is overwritten, and never piles up.
    temporary = path.with_name(f".{path.name}.part")
    path.parent.mkdir(exist_ok=True)  # in the study's directory, which is not made anew if it was removed
    try:
        with temporary.open("wb") as file:
            torch.save(content, file)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except RuntimeError as error:
        # Where a write fails, torch ends with an error of its own, beyond which it is the disk's word.
        refused = next((each for each in _causes(error) if isinstance(each, OSError)), None)
        if refused is None and "unexpected pos" in str(error):
            refused = OSError(str(error))
        if refused is None:
            raise
        raise refused from error
    finally:
        temporary.unlink(missing_ok=True)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
