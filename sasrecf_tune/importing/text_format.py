"""How a text file is compressed, encoded and divided into columns, found out from its beginning."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from typing_extensions import override

from sasrecf_tune.errors import InputError
from sasrecf_tune.importing.layouts import LATIN_1, is_number, is_usual, known_columns
from sasrecf_tune.inputs.import_settings import ImportSettings

SAMPLE_ROWS = 1000
_SAMPLE_BYTES = 1 << 20
# In the order of preference where several fit as well.
_SEPARATORS = ("\t", "::", ",", ";", "|")
# No text has this control character, so that it can stand for a separator of several characters.
_ONE_CHARACTER = "\x1f"
_OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_OTHERS = {
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"SQLite format 3": "an SQLite database",
    b"\x89HDF": "an HDF5 file",
}
_COMPRESSED = re.compile(r"\.(gz|bz2|xz)$", re.IGNORECASE)
_TYPED = re.compile(r"(.+):(token|token_seq|float|float_seq)")


@dataclass(frozen=True)
class TextFormat:
    """What divides the text into fields.

    Attributes:
        columns: Names; those of a file without a header are known from its layout, or are 1, 2, ...
        kinds: The types that the names of RecBole's atomic files end in, else empty.
        sample: The fields of the first rows.
    """

    separator: str
    encoding: str
    quotes: bool
    header: bool
    columns: tuple[str, ...]
    kinds: dict[str, str]
    sample: list[list[str]]

    @property
    def one_character(self) -> str:
        """The separator in what `open_fields` gives."""
        return self.separator if len(self.separator) == 1 else _ONE_CHARACTER

    def describe(self) -> str:
        """Such as "columns separated by '::', without a header, latin-1"."""
        parts = [f"columns separated by {self.separator!r}"]
        if not self.header:
            parts.append("no header")
        if self.encoding not in ("utf-8", "utf-8-sig"):
            parts.append(self.encoding)
        return ", ".join(parts)


def plain_name(path: Path) -> str:
    """The file's name without the ending of a compression."""
    return _COMPRESSED.sub("", path.name)


@contextmanager
def reading(path: Path, encoding: str = "") -> Iterator[None]:
    """Say in plain words why the file cannot be read, if the block fails.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        yield
    except UnicodeError as error:
        raise InputError(
            f"it is not {encoding or 'utf-8'}",
            where=str(path),
            fix="Give its encoding: --encoding NAME, for example latin-1 or cp1252.",
        ) from error
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise InputError("the compressed file is damaged or incomplete", where=str(path)) from error
    except OSError as error:
        raise InputError(f"cannot read: {error.strerror or error}", where=str(path)) from error


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file, decompressed.

    Raises:
        InputError: It is no text.
        OSError: It cannot be opened.
    """
    with path.open("rb") as file:
        start = file.read(16)
    for magic, what in _OTHERS.items():
        if start.startswith(magic):
            raise InputError(
                f"it is {what}",
                where=str(path),
                fix="Unpack it, or save the table as CSV or Parquet. gz, bz2 and xz need not be unpacked.",
            )
    for magic, opener in _OPENERS.items():
        if start.startswith(magic):
            return opener(path, "rb")  # type: ignore[no-any-return, operator]
    return path.open("rb")


def open_fields(path: Path, text_format: TextFormat) -> IO[bytes]:
    """Open a file whose fields are separated by `text_format.one_character`."""
    file = open_bytes(path)
    if _is_plain(text_format.encoding):
        file = io.BufferedReader(_WithoutNul(file, path), 1 << 20)
    if len(text_format.separator) == 1:
        return file
    old, new = (text.encode(text_format.encoding) for text in (text_format.separator, _ONE_CHARACTER))
    return io.BufferedReader(_Replaced(file, old, new), 1 << 20)


class _Wrapper(io.RawIOBase):
    """What reads from another file, and closes it with itself."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    @override
    def readable(self) -> bool:
        return True

    @override
    def close(self) -> None:
        self._file.close()
        super().close()


class _WithoutNul(_Wrapper):
    """A file in which a NUL byte is an error: pandas would cut the field there without a message."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        super().__init__(file)
        self._path = path

    @override
    def readinto(self, buffer: Any) -> int:
        text = self._file.read(len(buffer))
        if b"\0" in text:
            raise _no_text(self._path)
        buffer[: len(text)] = text
        return len(text)


def _no_text(path: Path) -> InputError:
    return InputError("it is not text: it has NUL bytes", where=str(path))


class _Replaced(_Wrapper):
    """A file with a separator of several bytes replaced by one of one."""

    def __init__(self, file: IO[bytes], old: bytes, new: bytes) -> None:
        super().__init__(file)
        self._old, self._new = old, new
        self._rest = b""

    @override
    def readinto(self, buffer: Any) -> int:
        # Each separator of at least two bytes becomes shorter: what was read always fits.
        read = self._file.read(max(len(buffer) - len(self._old), 1))
        text = self._rest + read
        self._rest = b""
        if read:
            # The beginning of a separator at the end of the block waits for the next one.
            keep = next(n for n in range(len(self._old) - 1, -1, -1) if text.endswith(self._old[:n]))
            text, self._rest = (text[:-keep], text[-keep:]) if keep else (text, b"")
        text = text.replace(self._old, self._new)
        if read and not text:
            return self.readinto(buffer)
        buffer[: len(text)] = text
        return len(text)


def sniff(path: Path, settings: ImportSettings) -> TextFormat:
    """Find out how a file of text is divided into columns.

    Raises:
        InputError: It is empty, or cannot be read as a table.
    """
    with reading(path), open_bytes(path) as file:
        start = file.read(_SAMPLE_BYTES)
        whole = not file.read(1)
    known_file = plain_name(path).lower() in LATIN_1
    encoding = encoding_of(start, settings) or ("latin-1" if known_file else "utf-8")
    with reading(path, encoding):
        text = codecs.getincrementaldecoder(encoding)().decode(start, final=whole)
    if not whole:
        text = text[: text.rfind("\n") + 1] or text
    if "\0" in text:
        raise _no_text(path)
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError("the file is empty", where=str(path))
    separator = settings.separator or _separator(lines[:50])
    if separator is None:
        raise InputError(
            f"no separator of columns found; the first line is {lines[0][:60]!r}",
            where=str(path),
            fix="Give it: --separator ';'.",
        )
    if len(separator) > 1 and not _is_plain(encoding):
        raise InputError(
            f"the separator {separator!r} of several characters cannot be read in {encoding}",
            where=str(path),
            fix="Save the table as UTF-8, or with a separator of one character.",
        )
    quotes = settings.quotes if settings.quotes is not None else separator != "::" and not known_file
    rows = _rows(text, separator, quotes)[:SAMPLE_ROWS]
    header = _has_header(rows[0], plain_name(path), rows) if settings.header is None else settings.header
    if header:
        names, rows = rows[0], rows[1:]
    else:
        known = known_columns(plain_name(path), rows)
        names = list(known or map(str, range(1, len(rows[0]) + 1)))
    kinds = {}
    typed = [_TYPED.fullmatch(name) for name in names]
    if header and all(typed):
        names = [found[1] for found in typed if found]
        kinds = {found[1]: found[2] for found in typed if found}
    names = [name.strip() or f"column {place}" for place, name in enumerate(names, 1)]
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"column {repeated[0]!r} occurs twice in the first line", where=str(path))
    return TextFormat(separator, encoding, quotes, header, tuple(names), kinds, rows)


def encoding_of(start: bytes, settings: ImportSettings) -> str:
    """The encoding that a file begins with, or that the user has given; "" if neither says one.

    Raises:
        InputError: There is no encoding of that name.
    """
    if found := _encoding(start):
        return found
    given = settings.encoding or ""
    try:
        # Others, such as hex, do not make text of bytes.
        known = not given or codecs.lookup(given)._is_text_encoding
    except (LookupError, ValueError):
        known = False
    if not known:
        raise InputError(
            f"there is no encoding {given[:40]!r}", where="--encoding", fix="For example: latin-1 or cp1252."
        )
    return given


def _is_plain(encoding: str) -> bool:
    """Whether ASCII characters are one byte each in this encoding, with the same value."""
    try:
        return "::".encode(encoding) == b"::"
    except UnicodeError:
        return False


def _encoding(start: bytes) -> str:
    if start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if start.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return ""


def _separator(lines: list[str]) -> str | None:
    """The separator that gives the most lines the same number of fields."""
    best: tuple[float, str] | None = None
    for separator in _SEPARATORS:
        counts = Counter(len(row) for row in _rows("\n".join(lines), separator, separator != "::"))
        width, lines_of_it = counts.most_common(1)[0]
        share = lines_of_it / counts.total()
        if width > 1 and (best is None or share > best[0]):
            best = (share, separator)
    return best[1] if best else None


def _rows(text: str, separator: str, quotes: bool) -> list[list[str]]:
    """The fields of the first rows, blank lines left out."""
    one = separator if len(separator) == 1 else _ONE_CHARACTER
    text = text if one == separator else text.replace(separator, one)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=one, quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    )
    found: list[list[str]] = []
    try:
        for row in reader:
            if any(map(str.strip, row)) or len(row) > 1:  # pandas skips blank lines too
                found.append(row)
            if len(found) > SAMPLE_ROWS:
                break
    except csv.Error:  # a field that is too long, as after a quote that is never closed
        pass
    return found or [[""]]


def _has_header(first: list[str], file: str, rows: list[list[str]]) -> bool:
    if known_columns(file, rows) is not None:
        return False
    # A single letter, such as u, is as likely a value.
    if any(len(cell) > 1 and (is_usual(cell) or _TYPED.fullmatch(cell)) for cell in first):
        return True
    return len(set(first)) == len(first) and not any(map(is_number, first))
