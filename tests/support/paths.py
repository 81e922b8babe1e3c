"""Where the repository and its parts are."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def recbole_directory() -> Path:
    """The directory of the installed RecBole."""
    spec = importlib.util.find_spec("recbole")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent
