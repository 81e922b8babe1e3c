"""What the plan says of earlier searches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sasrecf_tune.analysis.earlier_work import EarlierWork
from sasrecf_tune.report.text import count_text

_MOST_REASONS = 4


def earlier_lines(work: EarlierWork) -> list[str]:
    """What is taken from an earlier search, and what is not and why."""
    head = f"{work.source}: {count_text(work.trials, 'finished trial')}"
    if work.unfinished:
        states = ", ".join(f"{count:,} {state}" for state, count in sorted(work.states.items()))
        head += f" (and {work.unfinished:,} unfinished left out: {states})"
    where = f"{work.of_space:,} in this space ({count_text(work.configurations, 'configuration')})"
    lines = [f"{head}, {where}; {_counting(work)}"]
    if work.assumed and work.counted:
        lines.append(
            "taken to be as here, since --trust is given: data, model, metric, evaluation and fixed settings"
        )
    shown = list(work.reasons.items())[:_MOST_REASONS]
    if shown:
        more = f"; {len(work.reasons) - len(shown)} more reasons" if len(work.reasons) > len(shown) else ""
        why = "; ".join(f"{reason} ({count:,})" if work.trials else reason for reason, count in shown)
        lines.append(f"not counted, and without effect on the search: {why}{more}")
    return lines


def _counting(work: EarlierWork) -> str:
    if not work.counted:
        return "none counts"
    counts = f"{work.counted:,} count as finished trials" if work.counted > 1 else "1 counts as finished"
    if work.trusted:
        return f"{counts}, ranked by score"
    return f"{counts}, ranked after those trained here (--trust ranks them by score)"


def earlier_content(works: Sequence[EarlierWork]) -> list[dict[str, Any]]:
    """The same for programs."""
    return [asdict(work) | {"unfinished": work.unfinished} for work in works]
