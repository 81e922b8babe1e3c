"""Hides the passwords in the addresses of databases."""

from __future__ import annotations

import re

HIDDEN = "***"

# Up to the first @; and to the last one before the path, if an @ was not written as %40.
_OF_USER = re.compile(r"(://[^:/@\s]*:)[^@\s]*@(?:[^/?\s]*@)?")
# Such as password, sslpassword and passwd; a passfile is no secret.
_IN_QUERY = re.compile(r"([?&](?!passfile=)[^=&?\s]*pass[^=&\s]*=)[^&\s]+", re.IGNORECASE)


def mask_passwords(text: str) -> str:
    """Replace the passwords of all addresses in the text."""
    return _IN_QUERY.sub(rf"\1{HIDDEN}", _OF_USER.sub(rf"\1{HIDDEN}@", text))


def is_masked(address: str) -> bool:
    """Whether `mask_passwords` has replaced a password in the address."""
    return f":{HIDDEN}@" in address or f"={HIDDEN}" in address
