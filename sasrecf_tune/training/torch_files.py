"""Writes torch files atomically."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from sasrecf_tune.errors import causes
from sasrecf_tune.storage.files import open_own


def save(path: Path, content: Any, *, durable: bool = True) -> None:
    """Write `content` with torch.save to a temporary file and rename it to `path`.

    Only one process may write a path at a time. With `durable` the content is on disk when this returns.

    Raises:
        OSError: The file cannot be written; an earlier one is unchanged.
    """
    # Not a random name: the next write replaces what a killed process left.
    temporary = path.with_name(f".{path.name}.part")
    path.parent.mkdir(exist_ok=True)  # not the study directory, which the user may have removed
    try:
        with os.fdopen(open_own(temporary, os.O_WRONLY | os.O_TRUNC), "wb") as file:
            torch.save(content, file)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except RuntimeError as error:
        # torch raises an error of its own after a failed write; the OSError is among its causes.
        disk_error = next((each for each in causes(error) if isinstance(each, OSError)), None)
        if disk_error is None and "unexpected pos" in str(error):
            disk_error = OSError(str(error))
        if disk_error is None:
            raise
        raise disk_error from error
    finally:
        temporary.unlink(missing_ok=True)
