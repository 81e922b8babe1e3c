"""What is said where the best configuration lies on a bound of the search space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sasrecf_tune.analysis.bounds import AtBound
from sasrecf_tune.trials import cell_text


def bounds_sentence(found: Sequence[AtBound]) -> str:
    """Such as "The best has learning_rate 0.01, the upper bound of its range."; lines of a file follow it."""
    each = ", ".join(f"{one.name} {cell_text(one.value)} (the {one.bound} bound)" for one in found)
    lines = "this line" if len(found) == 1 else "these lines"
    return (
        f"The best lies on a bound of the search space: {each}. To search beyond it, put {lines} into a copy "
        "of the params file:"
    )


def bounds_content(found: Sequence[AtBound]) -> dict[str, Any]:
    """Return the parameters on a bound for JSON, as the key `at_bounds`."""
    return {"at_bounds": [asdict(one) for one in found]}
