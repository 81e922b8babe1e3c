"""Error messages of the command line in the terms of the Python API."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator

from sasrecf_tune.errors import TuneError, long_name_error
from sasrecf_tune.storage.directory import ANOTHER_STUDY

_OPTION = re.compile(r"(?<![\w-])--([a-z][a-z-]*)")


@contextlib.contextmanager
def keyword_names() -> Iterator[None]:
    """Name keyword arguments instead of command-line options in a TuneError that the block raises."""
    try:
        yield
    except TuneError as error:
        for mistake in error.mistakes:
            mistake.what, mistake.where, mistake.fix = map(
                _translate, (mistake.what, mistake.where, mistake.fix)
            )
            mistake.args = (mistake.what, mistake.where, mistake.fix)
        raise
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise long_name_error(error) from error
        raise


def _translate(text: str) -> str:
    text = text.replace(ANOTHER_STUDY, 'give the new study a name: study="NEW-NAME"')
    if "sasrecf-tune " in text:  # a whole command
        return text
    return _OPTION.sub(lambda found: "config" if found[1] == "set" else found[1].replace("-", "_"), text)
