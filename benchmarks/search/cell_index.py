"""Finds the recorded cell of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.search.curve_table import Table
from benchmarks.search.parameter_scales import scaled


class CellIndex:
    """Looks configurations up in a table; in an infinite space, the recorded point next to each."""

    def __init__(self, table: Table) -> None:
        self._space = table.space
        self._cells = {self._key(labels): cell for cell, labels in enumerate(table.cells)}
        self._points = scaled(table.space, table.cells) if table.space.size is None else None

    def find(self, labels: Mapping[str, Any]) -> int:
        """Return the index of the cell with these labels; other keys do not count."""
        if self._points is None:
            return self._cells[self._key(labels)]
        distances = ((self._points - scaled(self._space, [labels])) ** 2).sum(axis=1)
        return int(distances.argmin())

    def _key(self, labels: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(labels[name] for name in self._space.names)
