"""Text packed for a page: compressed, and written in characters that a script element can hold."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any


@dataclass(frozen=True)
class Packed:
    """Packed text, which figures.js unpacks.

    Args:
        text: gzip's bytes in base 85, with "." for "<", which could end the element.
        size: Number of gzip's bytes; `text` may hold up to three more.
    """

    text: str
    size: int


def pack(text: str) -> Packed:
    """Pack `text`; the same text always gives the same result."""
    data = gzip.compress(text.encode(), mtime=0)
    return Packed(base64.b85encode(data, pad=True).decode().replace("<", "."), len(data))


def pack_json(value: Any) -> Packed:
    """Pack `value` as JSON."""
    return pack(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


@lru_cache
def pack_plotly() -> Packed:
    """Pack Plotly's JavaScript."""
    from plotly.offline import get_plotlyjs

    return pack(get_plotlyjs())
