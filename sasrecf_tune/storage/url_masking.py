"""Passwords in the address of a database, which nobody is shown."""

from __future__ import annotations

import re

HIDDEN = "***"

# Up to the first @; and to the last one before the path, where somebody has not written %40.
_OF_USER = re.compile(r"(://[^:/@\s]*:)[^@\s]*@(?:[^/?\s]*@)?")
# Such as password, sslpassword and passwd; a passfile is no secret.
_IN_QUERY = re.compile(r"([?&](?!passfile=)[^=&?\s]*pass[^=&\s]*=)[^&\s]+", re.IGNORECASE)


def mask_passwords(text: str) -> str:
    """The text, in which the addresses have no passwords any more."""
    return _IN_QUERY.sub(rf"\1{HIDDEN}", _OF_USER.sub(rf"\1{HIDDEN}@", text))


def is_masked(address: str) -> bool:
    """Whether the address is one that `mask_passwords` has made from one with a password."""
    return f":{HIDDEN}@" in address or f"={HIDDEN}" in address
