"""A table with one JSON object a line, such as Amazon's reviews; in its older files, one Python dict."""

from __future__ import annotations

import ast
import codecs
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from sasrecf_tune.errors import InputError
from sasrecf_tune.importing.text_format import SAMPLE_ROWS, open_bytes, reading


class JsonLines:
    """A file with an object in each line."""

    kinds: Mapping[str, str] = {}

    def __init__(self, path: Path, encoding: str) -> None:
        self.name = str(path)
        self._path, self._encoding = path, encoding
        with reading(path, encoding):
            lines = list(islice(self._lines(), SAMPLE_ROWS))
            self._loose = bool(lines) and not _is_json(lines[0])
            self.about = "Python dictionaries, one a line" if self._loose else "JSON lines"
            objects = [self._object(line, number) for number, line in enumerate(lines, 1)]
        self.columns = tuple(dict.fromkeys(name for each in objects for name in each))
        self._sample = objects

    def sample(self) -> Mapping[str, Sequence[object]]:
        """The values of the first rows, by column; None where an object has none."""
        return {name: [each.get(name) for each in self._sample] for name in self.columns}

    def chunks(self, columns: Sequence[str], rows: int = 100_000) -> Iterator[pd.DataFrame]:
        """These columns, some rows at a time."""
        names = {f"c{place}": name for place, name in enumerate(columns)}
        # Fields that are not asked for are skipped without being decoded.
        decode = self._decoder(names)
        with reading(self._path, self._encoding):
            lines = enumerate(self._lines(), 1)
            while block := list(islice(lines, rows)):
                try:
                    decoded = [decode(line) for _, line in block]
                    found = [[getattr(row, field) for row in decoded] for field in names]
                except (msgspec.DecodeError, UnicodeError):
                    # Python's way, or JSON as Python writes it, with NaN.
                    objects = [self._object(line, number) for number, line in block]
                    found = [[each.get(name) for each in objects] for name in columns]
                series = {
                    name: pd.Series(values, dtype=object) for name, values in zip(columns, found, strict=True)
                }
                yield pd.DataFrame(series)

    def _decoder(self, names: Mapping[str, str]) -> Callable[[bytes], Any]:
        fields = [(field, Any, None) for field in names]
        kind: Any = msgspec.defstruct("Row", fields, rename=dict(names))
        return msgspec.json.Decoder(kind).decode

    def malformed(self) -> Sequence[str]:
        """Nothing: a line that is no object is an error."""
        return ()

    def _lines(self) -> Iterator[bytes]:
        with open_bytes(self._path) as file:
            if codecs.lookup(self._encoding).name in ("utf-8", "utf-8-sig"):
                lines = (line.removeprefix(codecs.BOM_UTF8) for line in file)
            else:
                lines = (line.encode() for line in io.TextIOWrapper(file, self._encoding, newline="\n"))
            yield from filter(bytes.strip, lines)

    def _object(self, line: bytes, number: int) -> dict[str, object]:
        try:
            # Literals alone, nothing is evaluated.
            found = ast.literal_eval(line.decode().strip()) if self._loose else json.loads(line)
        except UnicodeError:
            raise
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise self._error(number) from None
        if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
            raise self._error(number)
        return found

    def _error(self, number: int) -> InputError:
        return InputError(
            "this is no JSON object; each line must be one",
            where=f"{self.name}, row {number}",
            fix="Correct the line. A file that is one JSON array must be converted to JSON lines.",
        )


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
