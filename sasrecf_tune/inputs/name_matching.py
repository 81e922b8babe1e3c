"""Finds the setting that a wrong name was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# Shares of equal letters, as difflib counts them.
_ONE_WORD = 0.7
_WHOLE_NAME = 0.9
_SIMILAR = 0.8


def misspelt(name: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `name` is a misspelling of: one letter is wrong, or a few in each word.

    Another word makes another name, however many letters they share.

    Example:
        >>> settings = ["epochs", "eval_batch_size", "train_batch_size", "user_id_field"]
        >>> misspelt("epoks", settings), misspelt("Train_batchsize", settings)
        ('epochs', 'train_batch_size')
        >>> misspelt("test_batch_size", settings), misspelt("session_id_field", settings)
        (None, None)
    """
    shares = {other: _share(_joined(name), _joined(other)) for other in known}
    near = [
        other
        for other, share in shares.items()
        if share >= _WHOLE_NAME or _one_letter_differs(share, name, other) or _same_words(name, other)
    ]
    return max(near, key=lambda other: shares[other], default=None)


def similar(name: str, known: Iterable[str]) -> str | None:
    """The one of `known` that has most letters of `name` in their order, if it has most of them."""
    by_lower = {other.lower(): other for other in known}
    near = difflib.get_close_matches(_short(name), by_lower, n=1, cutoff=_SIMILAR)
    return by_lower[near[0]] if near else None


def _one_letter_differs(share: float, name: str, other: str) -> bool:
    longest = max(len(_joined(name)), len(_joined(other)))
    return share * longest > longest - 1.01


def _same_words(one: str, other: str) -> bool:
    words, others = _short(one).split("_"), _short(other).split("_")
    return len(words) == len(others) and all(
        abs(len(word) - len(beside)) <= 2 and _share(word, beside) >= _ONE_WORD
        for word, beside in zip(words, others, strict=True)
    )


def _share(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def _joined(name: str) -> str:
    return _short(name).replace("_", "")


def _short(name: str) -> str:
    return name[:100].lower()
