"""How it is installed on this Python, for messages that have to say so."""

from __future__ import annotations

import sys

# From here on there is no build of Ray 2.6.3, which RecBole 1.2.1 asks for; what is used of it needs none.
WITHOUT_RAY = (3, 12)
# The last that it was tested on.
NEWEST = (3, 13)


def install_command(python: tuple[int, int] = sys.version_info[:2], extra: str = "") -> str:
    """The command that installs the versions that were tested together; README has the same."""
    package = f"'.[{extra}]'" if extra else "."
    if python < WITHOUT_RAY:
        return f"pip install -c constraints.txt {package}"
    return f"pip install -c constraints-new.txt {package} && pip install --no-deps recbole==1.2.1"


def how_to_get_ray(python: tuple[int, int] = sys.version_info[:2]) -> str:
    """What to do where Ray is missing."""
    if python < WITHOUT_RAY:
        return f"Install it: {install_command(python)}"
    return "RecBole's Ray has no build for this Python; clusters need Python 3.11 on all nodes."
