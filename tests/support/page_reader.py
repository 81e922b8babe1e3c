"""Reads an HTML report as a browser does."""

from __future__ import annotations

import base64
import gzip
from html.parser import HTMLParser


class Reader(HTMLParser):
    """Tags, and the text of scripts (unpacked) and of everything else."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside = ""
        self._size: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        self._size = dict(attrs).get("data-size")
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "script" and self._size:
            data = base64.b85decode(self.scripts[-1].replace(".", "<"))
            self.scripts[-1] = gzip.decompress(data[: int(self._size)]).decode()
        self._inside = ""


def read(text: str) -> Reader:
    """Tags, scripts and text of a page; white space is folded."""
    reader = Reader()
    reader.feed(text)
    reader.text = " ".join(reader.text.split())
    return reader
