"""Results that the database could not be told of, kept in the study directory until it can."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

from sasrecf_tune.errors import StorageError
from sasrecf_tune.files import atomic_write, remove
from sasrecf_tune.layout import Layout
from sasrecf_tune.messages import Decision, Failure, Result


def keep(layout: Layout, outcome: Result | Failure, owner: str) -> None:
    """Write a result down; `owner` is the token of the coordinator whose trial it is.

    Raises:
        StorageError: the disk refuses too.
    """
    if isinstance(outcome, Result):
        content = asdict(outcome) | {"decision": outcome.decision.value, "owner": owner}
        atomic_write(layout.untold(outcome.number), json.dumps(content) + "\n")


def tell_kept(layout: Layout, tell: Callable[[int, Result, str], bool], say: Callable[[str], None]) -> None:
    """Have `tell` record what was kept, by number, result and owner; it returns whether it was of use."""
    for path in layout.all_untold():
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            owner = content.pop("owner")
            notes = tuple(content.pop("notes"))
            outcome = Result(**content | {"decision": Decision(content["decision"]), "notes": notes})
        except (OSError, ValueError, TypeError, LookupError) as error:
            raise StorageError(f"cannot be read: {error}", where=str(path), fix="Move it away.") from error
        if tell(outcome.number, outcome, owner):
            say(f"the result of trial {outcome.number}, which an earlier run had to keep, is in the database")
        remove([path])
