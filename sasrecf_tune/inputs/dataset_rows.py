"""Scans the rows of RecBole's atomic files for what RecBole would misread without a message.

RecBole reads with pandas, which fills short rows, cuts long ones and takes "NA" for a missing value. Then it
drops rows without an id, replaces a missing time by the mean, and keeps the first of several rows of an item.
Source: recbole/data/dataset/dataset.py, _load_feat.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sasrecf_tune.errors import DataError
from sasrecf_tune.inputs.dataset_columns import TIMES_ARE_NUMBERS
from sasrecf_tune.inputs.dataset_files import DatasetFiles, columns, text_format
from sasrecf_tune.inputs.loading import reads_file, reads_items
from sasrecf_tune.inputs.time_precision import Fields, TimePrecision

_BLOCK = 1 << 21
_LONGEST_LINE = 1 << 26
_QUOTE = b'"'
# Fields that pandas reads as missing (read_csv, na_values).
MISSING = frozenset(
    b"|#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|-nan|1.#IND|1.#QNAN|<NA>|N/A|NA|NULL|NaN|None|n/a|nan"
    b"|null".split(b"|")
)
_LONGEST_MISSING = max(map(len, MISSING))
_MISSING_FIRST = np.zeros(256, dtype=bool)
_MISSING_FIRST[[word[0] for word in MISSING if word]] = True
# Bytes that a number may begin with.
_NUMBER_FIRST = np.zeros(256, dtype=bool)
_NUMBER_FIRST[list(b"0123456789+-. ")] = True


def scan(data: DatasetFiles, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Scan the files of interactions, users and items; `config` is RecBole's complete configuration.

    Returns:
        Notes for the user about rows that RecBole drops.

    Raises:
        DataError: a row has too few or too many fields, no time, or a quote or a byte that cannot be read, or
            a file has no rows; names file and line.
    """
    separator, encoding = text_format(config)
    if len(separator.encode()) != 1 or "a\n".encode(encoding)[-2:] != b"a\n":
        return ()  # bytes do not tell where lines and fields end
    user, item = str(config["USER_ID_FIELD"]), str(config["ITEM_ID_FIELD"])
    notes: list[str] = []
    ready_made = bool(config["benchmark_filename"])  # RecBole does not filter such splits, nor order them
    time = None if ready_made else str(config["TIME_FIELD"])
    for path in interaction_files(data, config):
        row_scan = _RowScan(path, separator, encoding, ids=(user, item), time=time, keeps_all=ready_made)
        notes += row_scan.run()
        if time is not None:
            notes += row_scan.precision.note(f"{path.name}: {row_scan.time}", _normalizes_time(config))
    for source, own in (("user", user), ("item", item)):
        if reads_file(data, config, source):
            notes += _RowScan(data.file(source), separator, encoding, ids=(own,), unique=own).run()
    return tuple(notes)


def other_items(data: DatasetFiles, config: Mapping[str, Any], ranked: Set[str]) -> tuple[str, ...]:
    """A note if a model that reads the item file would rank other items than those `ranked` without it.

    RecBole ranks all items of that file, and drops interactions of items that are not in it.
    """
    if reads_items(data, config) or not data.file("item").is_file():
        return ()
    separator, encoding = text_format(config)
    item = str(config["ITEM_ID_FIELD"])
    names = list(columns(data.file("item"), separator, encoding))
    if item not in names:
        return ()
    column = names.index(item)
    with data.file("item").open(encoding=encoding, errors="replace", newline="") as file:
        rows = csv.reader(file, delimiter=separator, quoting=csv.QUOTE_NONE)
        listed = {row[column] for row in islice(rows, 1, None) if len(row) > column}
    # A filter by number of interactions drops items without any, with either model.
    keeps_unseen = str(config["item_inter_num_interval"] or "[0").strip().startswith("[0")
    differences: list[str] = []
    if keeps_unseen and listed - ranked:
        differences.append(f"ranks {len(listed - ranked):,} more, without interactions")
    if ranked - listed:
        differences.append(f"drops {len(ranked - listed):,} that are not in it")
    if not differences:
        return ()
    inter = ", ".join(str(config[f"{key}_FIELD"]) for key in ("USER_ID", "ITEM_ID", "TIME"))
    return (
        f"{len(ranked):,} items are ranked; SASRecF, which reads {data.file('item').name}, "
        f"{' and '.join(differences)}. To compare the two models, read it here too: "
        f'--set "load_col={{inter: [{inter}], item: [{item}]}}"',
    )


def interaction_files(data: DatasetFiles, config: Mapping[str, Any]) -> list[Path]:
    """The interaction files that exist."""
    paths = map(data.interactions_of, config["benchmark_filename"] or [""])
    return [path for path in paths if path.is_file()]


def _normalizes_time(config: Mapping[str, Any]) -> bool:
    """Whether RecBole scales times to [0, 1] (_normalize)."""
    fields = config["normalize_field"]
    return str(config["TIME_FIELD"]) in fields if fields else bool(config["normalize_all"])


def line_blocks(path: Path) -> Iterator[bytes]:
    """The file in blocks of a few MiB; each consists of whole lines and ends in a line feed.

    Raises:
        DataError: A line does not end.
    """
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            rest = file.readline(_LONGEST_LINE)
            if len(rest) == _LONGEST_LINE and not rest.endswith(b"\n"):
                raise DataError(
                    f"a line is longer than {_LONGEST_LINE >> 20} MiB; the file is not text", where=str(path)
                )
            block += rest
            yield block if block.endswith(b"\n") else block + b"\n"


@dataclass
class _RowScan:
    """Scans one file block by block, without a Python loop over plain rows."""

    path: Path
    separator: str
    encoding: str
    ids: Sequence[str]
    time: str | None = None
    unique: str | None = None
    keeps_all: bool = False  # RecBole does not drop rows without an id
    lines: int = 0  # before the current block
    rows: int = 0
    without_id: list[int] = field(default_factory=list)  # lines
    seen: set[bytes] = field(default_factory=set)  # values of the column `unique`
    repeated: list[int] = field(default_factory=list)  # lines with such a value that an earlier line has
    precision: TimePrecision = field(default_factory=TimePrecision)

    def run(self) -> list[str]:
        self.names = list(columns(self.path, self.separator, self.encoding))
        try:
            for block in line_blocks(self.path):
                self._scan_block(block)
        except OSError as error:
            raise DataError(f"cannot read: {error.strerror or error}", where=str(self.path)) from error
        if self.rows == 0:
            raise DataError("the file has no rows after the first line", where=str(self.path))
        notes: list[str] = []
        if self.without_id and self.keeps_all:
            raise DataError(
                f"no {' or '.join(self.ids)}; an empty field and words such as NA, null and None are read as "
                "missing",
                where=f"{self.path}:{min(self.without_id)}",
                fix="Remove the row: RecBole does not filter the files of benchmark_filename.",
            )
        if self.without_id:
            notes.append(
                f"{self.path.name}: dropped, no {' or '.join(self.ids)}: {_rows(self.without_id)}; an empty "
                "field and words such as NA, null and None are read as missing"
            )
        if self.repeated:
            same = f"an earlier row has the same {self.unique}"
            notes.append(f"{self.path.name}: dropped, {same}: {_rows(self.repeated)}")
        return notes

    def _scan_block(self, block: bytes) -> None:
        self._check_text(block)
        block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        codes = np.frombuffer(block, dtype=np.uint8)
        ends = np.flatnonzero(codes == ord("\n"))
        starts = np.concatenate([[0], ends[:-1] + 1])
        special = self._special_lines(block, starts, ends)
        plain = ends > starts  # neither blank nor special
        plain[special] = False
        if self.lines == 0:
            plain[0] = False  # the names of the columns
        marks = np.flatnonzero(codes == ord(self.separator))
        counts = np.diff(np.searchsorted(marks, ends), prepend=0)
        wrong = np.flatnonzero(plain & (counts != len(self.names) - 1))
        wrong = wrong[[bool(block[starts[i] : ends[i]].strip()) for i in wrong]] if len(wrong) else wrong
        if len(wrong):
            raise self._field_count_error(int(wrong[0]), int(counts[wrong[0]]) + 1)
        plain &= counts == len(self.names) - 1
        which = np.flatnonzero(plain)
        # [rows, columns + 1]: where the fields of each row begin, less one, and where the last one ends.
        first = np.searchsorted(marks, starts[which])
        inner = marks[first[:, None] + np.arange(len(self.names) - 1)]
        edges = np.concatenate([starts[which, None] - 1, inner, ends[which, None]], axis=1)
        self._check_rows(block, codes, edges, which)
        for index in special:
            if index or self.lines:
                self._check_special(block[starts[index] : ends[index]], int(index))
        self.rows += len(which)
        self.lines += len(ends)

    def _check_text(self, block: bytes) -> None:
        if (nul := block.find(b"\0")) >= 0:
            raise self._error("a NUL byte; the file is not text", block.count(b"\n", 0, nul))
        try:
            block.decode(self.encoding)
        except UnicodeDecodeError as error:
            raise self._error(
                f"not {self.encoding}: byte {block[error.start]:#x} cannot be read",
                block.count(b"\n", 0, error.start),
                "Save the file in that encoding, or give its encoding: --set encoding=NAME.",
            ) from error

    def _special_lines(
        self, block: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """The indices of lines to parse one by one: with quotes, or longer than csv's limit of a field."""
        special = ends - starts > csv.field_size_limit()
        if _QUOTE in block:
            quotes = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == ord(_QUOTE))
            special[np.searchsorted(ends, quotes)] = True
        return np.flatnonzero(special)

    def _check_special(self, line: bytes, index: int) -> None:
        text = line.decode(self.encoding)
        try:
            # Strict, as the Python parser of pandas, which RecBole uses.
            (fields,) = csv.reader([text], delimiter=self.separator, strict=True)
        except csv.Error as error:
            if "limit" in str(error):
                raise self._error("a field is too long", index) from error
            raise self._error(
                f"a quote opens a field: {error}",
                index,
                'A quote may be inside a field, or a pair around all of it: "...".',
            ) from error
        if len(fields) != len(self.names):
            raise self._field_count_error(index, len(fields))
        row = {name: value.encode(self.encoding) for name, value in zip(self.names, fields, strict=True)}
        self.rows += 1
        if self.time and (row[self.time] in MISSING or not _NUMBER_FIRST[row[self.time][0]]):
            raise self._time_error(row[self.time], index)
        if any(row[name] in MISSING for name in self.ids):
            self.without_id.append(self.lines + index + 1)
        elif self.time:
            fields_read = (Fields.of([row[name]]) for name in (*self.ids, self.time))
            self.precision.add(np.array([self.lines + index]), *fields_read)
        elif self.unique:
            self._note_repeated(row[self.unique], index)

    def _check_rows(
        self, block: bytes, codes: NDArray[np.uint8], edges: NDArray[np.int64], which: NDArray[np.int64]
    ) -> None:
        if self.time:
            column = self.names.index(self.time)
            begin, end = edges[:, column] + 1, edges[:, column + 1]
            wrong = (begin == end) | ~_NUMBER_FIRST[codes[begin]]
            if wrong.any():
                row = int(np.argmax(wrong))
                raise self._time_error(block[begin[row] : end[row]], int(which[row]))
        dropped = np.zeros(len(which), dtype=bool)
        for name in self.ids:
            column = self.names.index(name)
            dropped |= _are_missing(codes, edges[:, column] + 1, edges[:, column + 1])
        self.without_id += (which[dropped] + self.lines + 1).tolist()
        if self.time:
            places = [self.names.index(name) for name in (*self.ids, self.time)]
            kept = edges[~dropped]
            columns_read = (Fields(codes, kept[:, place] + 1, kept[:, place + 1]) for place in places)
            self.precision.add(self.lines + which[~dropped], *columns_read)
        if self.unique:
            column = self.names.index(self.unique)
            fields = zip(
                edges[~dropped, column] + 1, edges[~dropped, column + 1], which[~dropped], strict=True
            )
            for begin, end, index in fields:
                self._note_repeated(block[begin:end], int(index))

    def _note_repeated(self, value: bytes, index: int) -> None:
        if value in self.seen:
            self.repeated.append(self.lines + index + 1)
        self.seen.add(value)

    def _time_error(self, value: bytes, index: int) -> DataError:
        shown = value.decode(self.encoding)[:60]
        return self._error(
            f"{self.time} is {shown!r}, not a number: a history cannot be ordered without a time",
            index,
            TIMES_ARE_NUMBERS,
        )

    def _field_count_error(self, index: int, fields: int) -> DataError:
        return self._error(
            f"{fields} field{'s' * (fields != 1)}, but the first line has {len(self.names)} columns",
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
    """Which fields pandas reads as missing, given where they begin and end in `codes` [rows]."""
    width = end - begin
    found: NDArray[np.bool_] = width == 0
    rows = np.flatnonzero((width <= _LONGEST_MISSING) & _MISSING_FIRST[codes[begin]] & ~found)
    for word in MISSING if len(rows) else ():
        equal = rows[width[rows] == len(word)]
        for offset, code in enumerate(word):
            equal = equal[codes[begin[equal] + offset] == code]
        found[equal] = True
    return found
