"""Prints what torch finds, as JSON lines. It runs in a process of its own, which a broken torch may crash."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any


def facts() -> Iterator[dict[str, Any]]:
    """Yield torch's CUDA version, then the GPUs with their free and total bytes."""
    import torch

    yield {"cuda": torch.version.cuda}
    gpus = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    found = [(torch.cuda.get_device_name(gpu), *torch.cuda.mem_get_info(gpu)) for gpu in gpus]
    yield {"gpus": [{"name": name, "free": free, "total": total} for name, free, total in found]}


def main() -> None:
    """Print the facts, and the error if there is one."""
    try:
        for fact in facts():
            print(json.dumps(fact), flush=True)
    except Exception as error:  # noqa: BLE001  # whatever a broken installation raises
        print(
            json.dumps({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}), flush=True
        )
        sys.exit(1)
