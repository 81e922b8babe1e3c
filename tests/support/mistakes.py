"""The mistakes that an error of a params file lists."""

from __future__ import annotations

from sasrecf_tune.errors import InputError, ParamsFileError


def mistakes_in(error: InputError) -> list[ParamsFileError]:
    """All mistakes of an error, each of which is one of a params file."""
    found = [mistake for mistake in error.mistakes if isinstance(mistake, ParamsFileError)]
    assert len(found) == len(error.mistakes)
    return found
