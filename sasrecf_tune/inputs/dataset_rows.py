"""One pass over RecBole's atomic files for what RecBole reads without a word, but not as it was meant.

RecBole (data/dataset/dataset.py, _load_feat) leaves reading to pandas, which fills up short rows, cuts long
ones, and reads "NA" as missing: a row without an id is left out, a missing time becomes the mean of all. Of
several rows of one item the first counts.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sasrecf_tune.errors import DataError
from sasrecf_tune.inputs.dataset_files import DatasetFiles, columns, reads_items, text_format

_BLOCK = 1 << 21
_QUOTE = b'"'
# What pandas reads as missing (read_csv, na_values).
_MISSING = frozenset(
    b"|#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|-nan|1.#IND|1.#QNAN|<NA>|N/A|NA|NULL|NaN|None|n/a|nan"
    b"|null".split(b"|")
)
_LONGEST = max(map(len, _MISSING))
_MISSING_FIRST = np.zeros(256, dtype=bool)
_MISSING_FIRST[[word[0] for word in _MISSING if word]] = True
# Bytes that a number may begin with: beginnings of numbers, and spaces.
_NUMBER = np.zeros(256, dtype=bool)
_NUMBER[list(b"0123456789+-. ")] = True


def scan(data: DatasetFiles, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Look at the files of interactions and of items; returns notes for people. `config` is complete.

    Raises:
        DataError: a row has too few or too many fields, no time, or a quote or a byte that cannot be read; a
            file has no rows. It names file and line.
    """
    separator, encoding = text_format(config)
    if len(separator.encode()) != 1 or "a\n".encode(encoding)[-2:] != b"a\n":
        return ()  # lines and fields are not to be found by their bytes
    user, item = str(config["USER_ID_FIELD"]), str(config["ITEM_ID_FIELD"])
    notes: list[str] = []
    for path in _interactions(data, config):
        pass_ = _RowScan(path, separator, encoding, ids=(user, item), time=str(config["TIME_FIELD"]))
        notes += pass_.run()
    if reads_items(data, config):
        notes += _RowScan(data.file("item"), separator, encoding, ids=(item,), unique=item).run()
    return tuple(notes)


def unreadable_number(data: DatasetFiles, config: Mapping[str, Any]) -> DataError | None:
    """The first value in a column of floats that is none, as an error; None where there is no such value."""
    separator, encoding = text_format(config)
    between = str(config["seq_separator"])
    for path in [*_interactions(data, config), data.file("item")]:
        if not path.is_file():
            continue
        floats = [
            (i, name, kind) for i, (name, kind) in enumerate(columns(path, separator, encoding).items())
        ]
        with path.open(encoding=encoding, errors="replace", newline="") as file:
            for number, line in enumerate(file, 1):
                values = line.rstrip("\r\n").split(separator)
                for index, name, kind in floats:
                    if number == 1 or not kind.startswith("float") or index >= len(values):
                        continue
                    text = values[index]
                    for value in text.split(between) if kind == "float_seq" else [text]:
                        if not _is_number(value):
                            return DataError(
                                f"column {name!r} has type {kind}, but here it is {value[:60]!r}",
                                where=f"{path}:{number}",
                                fix=f"Correct it, or make the column {name}:token.",
                            )
    return None


def other_items(data: DatasetFiles, config: Mapping[str, Any], ranked: Set[str]) -> tuple[str, ...]:
    """A note where a model that reads the file of items would be measured on others than those `ranked` here.

    RecBole ranks all items of that file, and drops the interactions of items that are not in it.
    """
    if reads_items(data, config) or not data.file("item").is_file():
        return ()
    separator, encoding = text_format(config)
    item = str(config["ITEM_ID_FIELD"])
    names = list(columns(data.file("item"), separator, encoding))
    if item not in names:
        return ()
    place = names.index(item)
    with data.file("item").open(encoding=encoding, errors="replace", newline="") as file:
        rows = csv.reader(file, delimiter=separator, quoting=csv.QUOTE_NONE)
        listed = {row[place] for row in islice(rows, 1, None) if len(row) > place}
    # Where items are kept by their number of interactions, those without any are left out either way.
    kept = str(config["item_inter_num_interval"] or "[0").strip().startswith("[0")
    differs = (
        [f"ranks {len(listed - ranked):,} more, without interactions"] if kept and listed - ranked else []
    )
    differs += [f"drops {len(ranked - listed):,} that are not in it"] if ranked - listed else []
    if not differs:
        return ()
    inter = ", ".join(str(config[f"{key}_FIELD"]) for key in ("USER_ID", "ITEM_ID", "TIME"))
    return (
        f"{len(ranked):,} items are ranked; SASRecF, which reads {data.file('item').name}, "
        f"{' and '.join(differs)}. To compare the two, read it here too: "
        f'--set "load_col={{inter: [{inter}], item: [{item}]}}"',
    )


def _interactions(data: DatasetFiles, config: Mapping[str, Any]) -> list[Path]:
    """The files of interactions that are there."""
    paths = map(data.interactions_of, config["benchmark_filename"] or [""])
    return [path for path in paths if path.is_file()]


def line_blocks(path: Path) -> Iterator[bytes]:
    """The file in blocks of a few MiB, each of whole lines that end in a line feed."""
    with path.open("rb") as file:
        while block := file.read(_BLOCK) + file.readline():
            yield block if block.endswith(b"\n") else block + b"\n"


@dataclass
class _RowScan:
    path: Path
    separator: str
    encoding: str
    ids: Sequence[str]
    time: str | None = None
    unique: str | None = None
    lines: int = 0  # before the block at hand
    rows: int = 0
    missing: list[int] = field(default_factory=list)  # lines without an id
    seen: set[bytes] = field(default_factory=set)  # unique ids
    repeated: list[int] = field(default_factory=list)  # lines whose unique id an earlier line has

    def run(self) -> list[str]:
        self.names = list(columns(self.path, self.separator, self.encoding))
        try:
            for block in line_blocks(self.path):
                self._block(block)
        except OSError as error:
            raise DataError(f"cannot read: {error.strerror or error}", where=str(self.path)) from error
        if self.rows == 0:
            raise DataError("there is nothing after the first line", where=str(self.path))
        notes: list[str] = []
        if self.missing:
            notes.append(
                f"{self.path.name}: left out for want of {' or '.join(self.ids)}: {_rows(self.missing)}; an "
                "empty field and words such as NA, null and None are read as missing"
            )
        if self.repeated:
            notes.append(
                f"{self.path.name}: left out because an earlier row has the same {self.unique}: "
                + _rows(self.repeated)
            )
        return notes

    def _block(self, block: bytes) -> None:
        self._check_text(block)
        block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        codes = np.frombuffer(block, dtype=np.uint8)
        ends = np.flatnonzero(codes == ord("\n"))
        starts = np.concatenate([[0], ends[:-1] + 1])
        odd = self._odd_lines(block, starts, ends)
        plain = ends > starts  # neither blank, nor a line for itself
        plain[odd] = False
        if self.lines == 0:
            plain[0] = False  # the names of the columns
        marks = np.flatnonzero(codes == ord(self.separator))
        counts = np.diff(np.searchsorted(marks, ends), prepend=0)
        wrong = np.flatnonzero(plain & (counts != len(self.names) - 1))
        wrong = wrong[[bool(block[starts[i] : ends[i]].strip()) for i in wrong]] if len(wrong) else wrong
        if len(wrong):
            raise self._ragged(int(wrong[0]), int(counts[wrong[0]]) + 1)
        plain &= counts == len(self.names) - 1
        which = np.flatnonzero(plain)
        # [rows, columns + 1]: where the fields of each row begin, less one, and where the last one ends.
        first = np.searchsorted(marks, starts[which])
        inner = marks[first[:, None] + np.arange(len(self.names) - 1)]
        edges = np.concatenate([starts[which, None] - 1, inner, ends[which, None]], axis=1)
        self._check_rows(block, codes, edges, which)
        for index in odd:
            if index or self.lines:
                self._check_odd(block[starts[index] : ends[index]], int(index))
        self.rows += len(which)
        self.lines += len(ends)

    def _check_text(self, block: bytes) -> None:
        if (nul := block.find(b"\0")) >= 0:
            raise self._error("a NUL byte, which no text holds", block.count(b"\n", 0, nul))
        try:
            block.decode(self.encoding)
        except UnicodeDecodeError as error:
            raise self._error(
                f"not {self.encoding}: byte {block[error.start]:#x} cannot be read",
                block.count(b"\n", 0, error.start),
                "Save the file in that encoding, or name its own with --set encoding=NAME.",
            ) from error

    def _odd_lines(
        self, block: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Lines to parse for themselves: with quotes, or longer than Python's parser allows a field to be."""
        odd = ends - starts > csv.field_size_limit()
        if _QUOTE in block:
            quotes = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == ord(_QUOTE))
            odd[np.searchsorted(ends, quotes)] = True
        return np.flatnonzero(odd)

    def _check_odd(self, line: bytes, index: int) -> None:
        text = line.decode(self.encoding)
        try:
            # strict, as pandas' parser in Python is, which RecBole uses
            (fields,) = csv.reader([text], delimiter=self.separator, strict=True)
        except csv.Error as error:
            if "limit" in str(error):
                raise self._error("a field is too long", index) from error
            raise self._error(
                f"a quote opens a field: {error}",
                index,
                'A quote inside a field does no harm, nor does a pair around all of it: "...".',
            ) from error
        if len(fields) != len(self.names):
            raise self._ragged(index, len(fields))
        row = {name: value.encode(self.encoding) for name, value in zip(self.names, fields, strict=True)}
        self.rows += 1
        if self.time and (row[self.time] in _MISSING or not _NUMBER[row[self.time][0]]):
            raise self._no_time(row[self.time], index)
        if any(row[name] in _MISSING for name in self.ids):
            self.missing.append(self.lines + index + 1)
        elif self.unique:
            self._count_repeated(row[self.unique], index)

    def _check_rows(
        self, block: bytes, codes: NDArray[np.uint8], edges: NDArray[np.int64], which: NDArray[np.int64]
    ) -> None:
        if self.time:
            column = self.names.index(self.time)
            begin, end = edges[:, column] + 1, edges[:, column + 1]
            bad = (begin == end) | ~_NUMBER[codes[begin]]
            if bad.any():
                row = int(np.argmax(bad))
                raise self._no_time(block[begin[row] : end[row]], int(which[row]))
        gone = np.zeros(len(which), dtype=bool)
        for name in self.ids:
            column = self.names.index(name)
            gone |= _are_missing(codes, edges[:, column] + 1, edges[:, column + 1])
        self.missing += (which[gone] + self.lines + 1).tolist()
        if self.unique:
            column = self.names.index(self.unique)
            fields = zip(edges[~gone, column] + 1, edges[~gone, column + 1], which[~gone], strict=True)
            for begin, end, index in fields:
                self._count_repeated(block[begin:end], int(index))

    def _count_repeated(self, value: bytes, index: int) -> None:
        if value in self.seen:
            self.repeated.append(self.lines + index + 1)
        self.seen.add(value)

    def _no_time(self, value: bytes, index: int) -> DataError:
        shown = value.decode(self.encoding)[:60]
        return self._error(
            f"{self.time} is {shown!r}, no number: a history cannot be ordered without a time", index
        )

    def _ragged(self, index: int, fields: int) -> DataError:
        return self._error(
            f"{fields} field{'s' * (fields != 1)}, but the first line names {len(self.names)} columns",
            index,
            f"Fields are separated by {self.separator!r}.",
        )

    def _error(self, what: str, index: int, fix: str = "") -> DataError:
        return DataError(what, where=f"{self.path}:{self.lines + index + 1}", fix=fix)


def _rows(lines: Sequence[int]) -> str:
    return f"{len(lines):,} row{'s' * (len(lines) > 1)}, the first in line {min(lines)}"


def _are_missing(
    codes: NDArray[np.uint8], begin: NDArray[np.int64], end: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which of the fields `begin` to `end` [rows] pandas reads as missing."""
    width = end - begin
    found: NDArray[np.bool_] = width == 0
    rows = np.flatnonzero((width <= _LONGEST) & _MISSING_FIRST[codes[begin]] & ~found)
    for word in _MISSING if len(rows) else ():
        alike = rows[width[rows] == len(word)]
        for place, code in enumerate(word):
            alike = alike[codes[begin[alike] + place] == code]
        found[alike] = True
    return found


def _is_number(text: str) -> bool:
    if text.strip().encode() in _MISSING:
        return True
    try:
        return not math.isnan(float(text)) and "_" not in text
    except ValueError:
        return False
