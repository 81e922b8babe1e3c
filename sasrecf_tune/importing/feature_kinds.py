"""Guesses which kind of feature an item column is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sasrecf_tune.importing.ids import MISSING_WORDS, id_text
from sasrecf_tune.importing.layouts import is_number
from sasrecf_tune.inputs.import_settings import FeatureSetting, Kind

_SEPARATORS = ("|", ";", ",")
# Characters of a value from which on it is text to read, such as a description.
_LONG = 60
# Whole numbers with more different values than this are amounts.
_MOST_CLASSES = 1000
LISTS = "[]"  # stands for the separator of values that are lists


@dataclass(frozen=True)
class Feature:
    """An item column, as it is written.

    Attributes:
        column: Its name in the table.
        name: Its name in the atomic file.
        separator: Between the values of a token_seq in the table; `LISTS` if they are lists.
        why: Why it is this kind, or left out.
        cells: For each row of the table its value: text, or the values of a token_seq.
        distinct: The number of different values.
        missing: The number of rows without a value.
    """

    column: str
    name: str
    kind: Kind
    separator: str
    why: str
    cells: Sequence[str] | Sequence[tuple[str, ...]]
    distinct: int
    missing: int
    example: str


def clean(text: str) -> str:
    """A value of a feature: line ends and tabs are spaces, words that pandas reads as missing are empty."""
    # \x1e separates the values of a token_seq, if nothing else can; the last are halves of characters.
    text = re.sub("[\t\r\n\0\x1e\ud800-\udfff]+", " ", text).strip()
    return "" if text in MISSING_WORDS else text


def list_values(value: object) -> tuple[str, ...] | None:
    """The values of a list, or of text that is one, such as "['a', 'b']"; None if it is neither."""
    if isinstance(value, str):
        text = value.strip()
        if not (text.startswith("[") and text.endswith("]")):
            return None
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    elif hasattr(value, "tolist") and not isinstance(value, (str, float, int)):
        value = value.tolist()
    if not isinstance(value, list | tuple | set):
        return None
    return tuple(filter(None, map(clean, _flat(value))))


def _flat(values: Iterable[object]) -> Iterable[str]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        elif (text := id_text(value)) is not None:
            yield text


def is_long_text(values: Iterable[object]) -> bool:
    """Whether values are text to read, or structures: nothing that a feature is made of."""
    given = [value for value in values if value not in (None, "")] if not _has_arrays(values) else []
    if any(isinstance(value, dict) for value in given):
        return True
    texts = [value for value in given if isinstance(value, str) and not value.startswith("[")]
    return bool(texts) and sum(map(len, texts)) / len(texts) > _LONG and len(set(texts)) * 2 > len(texts)


def _has_arrays(values: Iterable[object]) -> bool:
    return any(hasattr(value, "shape") and getattr(value, "shape", ()) for value in values)


def read_feature(
    column: str, name: str, values: Sequence[object], told: FeatureSetting | None, typed: str = ""
) -> Feature:
    """The column as a feature, of the kind that the user has told, else of a guessed one.

    Args:
        typed: The type of a column of an atomic file.
    """
    if told is None and typed:
        told = FeatureSetting("token_seq", " ") if typed == "token_seq" else FeatureSetting(_kind_of(typed))
    lists = [list_values(value) for value in values]
    are_lists = any(each is not None for each in lists) and all(
        each is not None or _is_missing(value) for each, value in zip(lists, values, strict=True)
    )
    if are_lists and (told is None or told.kind == "token_seq"):
        sequences = [each or () for each in lists]
        why = "as told" if told else "lists"
        return _sequences(column, name, LISTS, why, sequences)
    texts = [clean(id_text(value) or "") for value in values]
    if told is not None:
        if told.kind == "token_seq":
            separator = told.separator or _separator([text for text in texts if text]) or " "
            return _sequences(column, name, separator, "as told", _split(texts, separator))
        return _plain(column, name, told.kind, "as told" if not typed else f"type {typed}", texts)
    given = [text for text in texts if text]
    distinct = len(set(given))
    if distinct < 2:
        return _plain(column, name, "skip", "all items have the same value" if given else "empty", texts)
    if all(map(is_number, given)):
        whole = all(re.fullmatch(r"[+-]?\d+", text) for text in given)
        if whole and distinct <= _MOST_CLASSES and distinct * 2 <= len(given):
            return _plain(column, name, "token", "whole numbers that recur", texts)
        return _plain(column, name, "float", "numbers", texts)
    if separator := _separator(given):
        return _sequences(column, name, separator, "values that recur", _split(texts, separator))
    if distinct == len(given) or (distinct * 2 > len(given) and distinct > 20):
        return _plain(column, name, "skip", "most items have a value of their own", texts)
    return _plain(column, name, "token", "values that recur", texts)


def _kind_of(typed: str) -> Kind:
    # SASRecF cannot embed float_seq.
    return {"token": "token", "float": "float"}.get(typed, "skip")  # type: ignore[return-value]


def _is_missing(value: object) -> bool:
    return value is None or value != value or value == ""


def _separator(texts: Sequence[str]) -> str:
    """What separates several values that recur, "" if the texts are single values."""
    whole = len(set(texts))
    for separator in _SEPARATORS:
        several = [text for text in texts if separator in text]
        if len(several) * 20 < len(texts) or not several:
            continue
        parts = [part for text in set(texts) for part in _parts(text, separator)]
        distinct = len(set(parts))
        # "Matrix, The (1999)" has parts of its own; "Action, Drama" has parts that others have too. A bar is
        # hardly ever in text.
        recur = distinct < len(parts) if separator == "|" else distinct * 2 <= len(parts)
        if recur and distinct <= max(whole, 40):
            return separator
    return ""


def _parts(text: str, separator: str) -> tuple[str, ...]:
    return tuple(filter(None, map(clean, text.split(separator))))


def _split(texts: Sequence[str], separator: str) -> list[tuple[str, ...]]:
    known: dict[str, tuple[str, ...]] = {}
    for text in texts:
        if text not in known:
            known[text] = _parts(text, separator)
    return [known[text] for text in texts]


def _plain(column: str, name: str, kind: Kind, why: str, texts: list[str]) -> Feature:
    given = [text for text in texts if text]
    return Feature(
        column,
        name,
        kind,
        "",
        why,
        texts,
        len(set(given)),
        len(texts) - len(given),
        given[0] if given else "",
    )


def _sequences(column: str, name: str, separator: str, why: str, cells: list[tuple[str, ...]]) -> Feature:
    distinct = len({value for cell in set(cells) for value in cell})
    example = ", ".join(next((cell for cell in cells if cell), ()))
    kind: Kind = "token_seq" if distinct else "skip"
    missing = sum(not cell for cell in cells)
    return Feature(
        column, name, kind, separator, why if distinct else "empty", cells, distinct, missing, example
    )
