"""Reads the text files that a user hands in: params files and config files."""

from __future__ import annotations

from pathlib import Path

from sasrecf_tune.errors import InputError

MAX_BYTES = 1 << 20


def read_bytes(path: Path, kind: str, error_type: type[InputError]) -> bytes:
    """Read a file that is small if it is what the user says.

    Args:
        kind: What it must be, for messages: "config file".
        error_type: The error to raise.

    Raises:
        InputError: It cannot be read, or is larger than `MAX_BYTES`; of the type `error_type`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise error_type(f"cannot read: {error.strerror or error}", where=str(path)) from error
    except ValueError as error:  # a NUL in the name
        raise error_type("not a file name", where=repr(str(path))) from error
    if len(content) > MAX_BYTES:
        raise error_type(f"not a {kind}: larger than 1 MiB", where=str(path))
    return content
