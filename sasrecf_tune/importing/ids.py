"""Ids of users and items as text, numbered in the order in which they occur."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sasrecf_tune.errors import InputError
from sasrecf_tune.inputs.dataset_rows import MISSING

# Words that RecBole, which reads with pandas, takes for a missing value.
MISSING_WORDS = frozenset(word.decode() for word in MISSING)
# What ends a line for one of the programs that read the files, or is no text: JSON can have half a character.
_UNREADABLE = re.compile("[\n\r\0\ud800-\udfff]")
UNREADABLE = "has a line end, or half of a character, which a line of an atomic file cannot hold"
NONE = -1  # the number of a missing id


class _Numbers(dict[str, int]):
    """Numbers of texts, in the order in which they are asked for; `NONE` for words that mean no value."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(MISSING_WORDS, NONE))

    def __missing__(self, text: str) -> int:
        self[text] = number = len(self) - len(MISSING_WORDS)
        return number


class Ids:
    """The ids of a column: a number for each text."""

    def __init__(self) -> None:
        self._numbers = _Numbers()

    def __len__(self) -> int:
        return len(self._numbers) - len(MISSING_WORDS)

    @property
    def texts(self) -> list[str]:
        """The ids, by number."""
        return list(self._numbers)[len(MISSING_WORDS) :]

    def number(self, values: pd.Series) -> NDArray[np.int32]:
        """The number of each id; `NONE` for a missing one. New ids get the next numbers.

        Raises:
            InputError: A value is a list or an object.
        """
        number_of = self._numbers.__getitem__
        if pd.api.types.infer_dtype(values, skipna=False) == "string":
            return np.fromiter(map(number_of, values.to_numpy(dtype=object)), np.int32, len(values))
        try:
            codes, distinct = pd.factorize(values, use_na_sentinel=True)
        except TypeError:  # they have no hash
            raise InputError(
                f"column {values.name!r} has lists or objects, which cannot be ids",
                fix="Name another column.",
            ) from None
        mapped = np.full(len(distinct) + 1, NONE, dtype=np.int32)
        for place, value in enumerate(_plain_values(distinct)):
            text = id_text(value)
            if text is not None:
                mapped[place] = number_of(text)
        return mapped[codes]  # the sentinel, -1, is the last place

    def unreadable(self) -> NDArray[np.bool_]:
        """For each number, whether no line of an atomic file can hold its text."""
        texts = self.texts
        if not is_unreadable("".join(texts)):
            return np.zeros(len(texts), dtype=bool)
        return np.fromiter(map(is_unreadable, texts), dtype=bool, count=len(texts))


def _plain_values(distinct: object) -> Iterable[object]:
    return np.asarray(distinct, dtype=object).tolist()  # type: ignore[no-any-return]


def id_text(value: object) -> str | None:
    """An id as text; None if it is missing. A whole number has no decimals, as before pandas stored a gap."""
    if isinstance(value, str):
        return None if value in MISSING_WORDS else value
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, bytes):
        return id_text(value.decode(errors="backslashreplace"))
    if value is None or value is pd.NaT or value is pd.NA or isinstance(value, list | dict):
        return None
    return id_text(str(value))


def is_unreadable(text: str) -> bool:
    """Whether no line of an atomic file can hold the text."""
    return _UNREADABLE.search(text) is not None


def field_text(text: str) -> str:
    """The text as a field of an atomic file: in quotes where RecBole would misread it otherwise.

    Example:
        >>> [field_text(text) for text in ("a b", 'a "b"', '"a"')]
        ['a b', 'a "b"', '"\""a""\"']
    """
    if text.startswith('"') or "\t" in text:
        return '"' + text.replace('"', '""') + '"'
    return text
