"""Output in encodings that lack some characters, such as ASCII under PYTHONIOENCODING=ascii."""

from __future__ import annotations

import codecs
import io
import sys

_HANDLER = "sasrecf_tune.approximate"
# Of the same width, so that tables stay aligned; but every row of a column has a ±.
_SIMILAR = str.maketrans("▁▂▃▄▅▆▇█×·…━╸╺─│┃", "_.:-=+*#x.~----||") | {ord("±"): "+-"}
# Other boxes, blocks and the dots of a spinner.
_DRAWN = range(0x2500, 0x25A0), range(0x2800, 0x2900)


def allow_any_text() -> None:
    """Write every text to standard output and error: characters that are missing there are approximated."""
    codecs.register_error(_HANDLER, _approximate)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def _approximate(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_similar, error.object[error.start : error.end])), error.end


def _similar(character: str) -> str:
    """A drawing in ASCII; other characters as JSON, whose strings remain valid."""
    similar = character.translate(_SIMILAR)
    if similar != character:
        return similar
    if any(ord(character) in drawn for drawn in _DRAWN):
        return "*"
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in zip(units[::2], units[1::2], strict=True))
