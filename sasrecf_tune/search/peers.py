"""What a run says of the others that work on its study at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sasrecf_tune.search.plan import Plan

_NAMED = 5


def search_description(plan: Plan) -> str:
    """How a run searches, for the others."""
    return f"{plan.sampler}, pruner {plan.pruner.name}"


def with_peer_notes(plan: Plan, others: Sequence[tuple[str, str]]) -> Plan:
    """The plan with notes on `others`, names and how each searches."""
    if not others:
        return plan
    notes = [f"also at work on this study: {_listed([name for name, _ in others])}"]
    for way in sorted({way for _, way in others} - {search_description(plan)}):
        names = _listed([name for name, other in others if other == way])
        notes.append(f"searched otherwise by {names} ({way}); here it is {search_description(plan)}")
    return replace(plan, notes=(*plan.notes, *notes))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
