"""What a study takes from an earlier search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class EarlierWork:
    """The trials of one earlier search, and which of them count as finished trials of the study.

    Args:
        source: The study, file or address that they are from.
        trials: How many were trained to their end.
        of_space: How many of `trials` have a configuration of the study's space.
        configurations: How many different ones.
        counted: How many of `trials` count.
        trusted: Whether they rank like trials that are trained here.
        states: The states of those that were not trained to their end, with their number.
        assumed: Whether their data, metric and settings are not recorded, and taken to be those of the study.
        reasons: Why others do not count, with the number of trials.
    """

    source: str
    trials: int
    of_space: int
    configurations: int
    counted: int
    trusted: bool
    states: Mapping[str, int] = field(default_factory=dict)
    assumed: bool = False
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def unfinished(self) -> int:
        """How many trials were not trained to their end."""
        return sum(self.states.values())
