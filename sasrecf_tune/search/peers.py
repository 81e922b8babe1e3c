"""Describes the other runs that work on a study at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sasrecf_tune.search.plan import Plan

_MOST_NAMES = 5


def search_description(plan: Plan) -> str:
    """How a run searches, for its peers."""
    return f"{plan.sampler}, pruner {plan.pruner.name}"


def with_peer_notes(plan: Plan, peers: Sequence[tuple[str, str]]) -> Plan:
    """Add notes to the plan on its peers, given by name and description."""
    if not peers:
        return plan
    mine = search_description(plan)
    notes = [f"other runs on this study: {_listed([name for name, _ in peers])}"]
    for description in sorted({description for _, description in peers} - {mine}):
        names = _listed([name for name, other in peers if other == description])
        notes.append(f"another search by {names} ({description}); this run uses {mine}")
    return replace(plan, notes=(*plan.notes, *notes))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
