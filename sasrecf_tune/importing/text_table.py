"""A table in a file of text."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from sasrecf_tune.errors import InputError
from sasrecf_tune.importing.text_format import open_fields, reading, sniff
from sasrecf_tune.inputs.import_settings import ImportSettings

# Rows: all columns of so many are in memory at once, as text.
CHUNK = 500_000
# What the parser of pandas says of a line with too many fields, and of a quote that is never closed.
_TOO_MANY = re.compile(r"line (\d+): expected (\d+) fields, saw (\d+)")
_OPEN_QUOTE = re.compile(r"EOF inside string starting at row (\d+)")


class TextTable:
    """A table in a file of text."""

    def __init__(self, path: Path, settings: ImportSettings) -> None:
        self.name = str(path)
        self._path = path
        self._format = sniff(path, settings)
        self.about = self._format.describe()
        self.columns = self._format.columns
        self.kinds: Mapping[str, str] = self._format.kinds
        self._malformed: list[str] = []

    def sample(self) -> Mapping[str, Sequence[object]]:
        """The values of the first rows, by column; "" where a row has too few."""
        rows = self._format.sample
        return {
            name: [row[place] if place < len(row) else "" for row in rows]
            for place, name in enumerate(self.columns)
        }

    def chunks(self, columns: Sequence[str], rows: int = CHUNK) -> Iterator[pd.DataFrame]:
        """These columns as text, some rows at a time.

        Raises:
            InputError: The file cannot be read, or has a line that is no row.
        """
        self._malformed = []
        places = [self.columns.index(name) for name in columns]
        encoding = self._format.encoding
        with reading(self._path, encoding), open_fields(self._path, self._format) as file:
            try:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    frames = pd.read_csv(
                        file,
                        sep=self._format.one_character,
                        # The first line is read as a row, and counts the columns: lines with more fields are
                        # found. With usecols they would be cut without a message.
                        header=None,
                        index_col=False,
                        dtype=str,
                        na_filter=False,
                        quoting=0 if self._format.quotes else 3,
                        encoding=encoding,
                        encoding_errors="strict",
                        on_bad_lines="warn",
                        chunksize=rows,
                        low_memory=False,
                    )
                    for number, frame in enumerate(frames):
                        if number == 0 and self._format.header:
                            frame = frame.iloc[1:]
                        yield frame[places].set_axis(list(columns), axis=1)
            except pd.errors.EmptyDataError:
                pass
            except pd.errors.ParserError as error:
                raise self._parser_error(str(error)) from error
        for one in caught:
            self._malformed += [
                f"line {line} has {seen} fields, but there are {expected} columns"
                for line, expected, seen in _TOO_MANY.findall(str(one.message))
            ]

    def malformed(self) -> Sequence[str]:
        """The lines with too many fields."""
        return self._malformed

    def _parser_error(self, text: str) -> InputError:
        if found := _OPEN_QUOTE.search(text):
            return InputError(
                "a quote opens a field, and none closes it",
                where=f"{self.name}, row {int(found[1]) + 1}",
                fix="Correct it; or, if quotes are part of the text in this file, add --no-quotes.",
            )
        return InputError("it is not a table of text", where=self.name)
