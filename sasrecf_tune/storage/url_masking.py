"""Hides the passwords in the addresses of databases.

An address is masked as it was written, whether SQLAlchemy can parse it or not: a password may contain any
character, and an address that cannot be used is shown in an error. In doubt too much is hidden.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from urllib.parse import unquote, unquote_plus

HIDDEN = "***"

_OPTION = "--storage"
# An argument, and parts without = that follow it: they may belong to its value.
_ARGUMENT = re.compile(r"([?&])([^=&?]*)=([^&]*(?:&[^=&]*(?=&|\Z))*)")
_SECRET_KEY = re.compile(r"pass|pwd|secret|token|credential", re.IGNORECASE)
_NO_SECRETS = ("passfile",)  # the name of a file
# A value that is an address or a connection string itself.
_SECRET_VALUE = re.compile(r"://|(pass\w*|pwd)\s*=", re.IGNORECASE)


def mask_address(address: str) -> str:
    """Replace the passwords in one address; all of a text that is no address."""
    scheme, mark, rest = address.partition("://")
    return f"{scheme}{mark}{_mask_arguments(_mask_user(rest))}" if mark else HIDDEN


def mask_command(words: Sequence[str]) -> list[str]:
    """Replace the passwords in the words of a command line."""
    return [_mask_word(word, before) for before, word in zip(["", *words], words, strict=False)]


def mask_message(text: str, address: str) -> str:
    """Replace the passwords of `address` in another text, such as a driver's message."""
    for secret in sorted(set(_secrets(address)), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def is_masked(address: str) -> bool:
    """Whether `mask_address` has replaced a password in the address."""
    return f":{HIDDEN}@" in address or f"={HIDDEN}" in address


def _mask_word(word: str, before: str) -> str:
    if before == _OPTION or "://" in word:
        return mask_address(word)
    return f"{_OPTION}={HIDDEN}" if word.startswith(f"{_OPTION}=") else word


def _mask_user(rest: str) -> str:
    """Hide what is between the user's name and the host."""
    user, colon, after = rest.partition(":")
    if not colon:
        return rest
    # Up to the last @, which may belong to the password, or to an argument.
    if "@" in after:
        return f"{user}:{HIDDEN}@{after.rpartition('@')[2]}"
    port = re.split("[/?]", after, maxsplit=1)[0]
    if port.isdecimal() or not port or rest.startswith("["):
        return rest
    return f"{user}:{HIDDEN}{after[len(port) :]}"  # without a host


def _mask_arguments(text: str) -> str:
    def mask(found: re.Match[str]) -> str:
        return f"{found[1]}{found[2]}={HIDDEN}" if _is_secret(found[2], found[3]) else found[0]

    return _ARGUMENT.sub(mask, text)


def _is_secret(key: str, value: str) -> bool:
    name = unquote_plus(key).strip().lower()
    if name in _NO_SECRETS or not value:
        return False
    return bool(_SECRET_KEY.search(name) or _SECRET_VALUE.search(unquote_plus(value)))


def _secrets(address: str) -> Iterator[str]:
    """Passwords in the address, as they are written and decoded."""
    rest = address.partition("://")[2]
    found = [match[3] for match in _ARGUMENT.finditer(rest) if _is_secret(match[2], match[3])]
    if "@" in rest:
        found.append(rest.rpartition("@")[0].partition(":")[2])
    for secret in found:
        yield from (text for text in (secret, unquote(secret), unquote_plus(secret)) if len(text) > 2)
