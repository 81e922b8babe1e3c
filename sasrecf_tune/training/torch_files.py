"""Writes torch files atomically."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sasrecf_tune.errors import causes
from sasrecf_tune.storage.files import replacing


def save(path: Path, content: Any, *, durable: bool = True) -> None:
    """Write `content` with torch.save, as `replacing` writes.

    Raises:
        OSError: The file cannot be written; an earlier one is unchanged.
    """
    path.parent.mkdir(exist_ok=True)  # not the study directory, which the user may have removed
    try:
        with replacing(path, durable=durable) as file:
            torch.save(content, file)
    except RuntimeError as error:
        # torch raises an error of its own after a failed write; the OSError is among its causes.
        disk_error = next((each for each in causes(error) if isinstance(each, OSError)), None)
        if disk_error is None and "unexpected pos" in str(error):
            disk_error = OSError(str(error))
        if disk_error is None:
            raise
        raise disk_error from error
