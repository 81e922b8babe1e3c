"""The settings that RecBole knows; it ignores any other without a message."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from sasrecf_tune.errors import suggest

# A setting that RecBole's code reads, that its lists of settings name, and that its YAML files give.
_READ = re.compile(r"""\bconfig\[\s*["'](\w+)["']""")
_NAMED = re.compile(r"""^\s+((?:["']\w+["'],?\s*)+)""", re.MULTILINE)
_GIVEN = re.compile(r"^(\w+)\s*:", re.MULTILINE)


@cache
def recbole_keys() -> frozenset[str]:
    """Names found in the files of the installed RecBole, for any model; empty if it is not installed."""
    spec = find_spec("recbole")
    if spec is None or spec.origin is None:
        return frozenset()
    package = Path(spec.origin).parent
    found: set[str] = set()
    for path in package.rglob("*.py"):
        found.update(_READ.findall(path.read_text(encoding="utf-8")))
    for line in _NAMED.findall((package / "utils" / "argument_list.py").read_text(encoding="utf-8")):
        found.update(re.findall(r"\w+", line))
    for path in (package / "properties").rglob("*.yaml"):
        found.update(_GIVEN.findall(path.read_text(encoding="utf-8")))
    return frozenset(found)


def without_effect(names: Iterable[str]) -> list[str]:
    """A sentence for each of `names` that RecBole does not know."""
    known = recbole_keys()
    return [
        f"RecBole has no setting `{name}`, so it has no effect{suggest(name, known, cutoff=0.8)}"
        for name in names
        if known and name not in known
    ]
